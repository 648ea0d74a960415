#!/usr/bin/env sh
// 2>/dev/null; [ "$1" = execute ] && exec node --max-semi-space-size=2 -- "$0" "$@"; exec node -- "$0" "$@"
// To the shell, the line above is all there is. Without its `--`, Node takes our --env-file for its own: it ends with
// exit code 9 where that file is not there, and obeys a NODE_OPTIONS that stands in it. The size (in MiB) has what was
// read of a script's output collected early: a gigabyte of it then takes 60 MB of memory less.
'use strict';
// Old syntax on purpose: an old Node must get as far as the message.
var wanted = [22, 12];
var found = process.versions.node.split('.').map(Number);
if (found[0] < wanted[0] || (found[0] === wanted[0] && found[1] < wanted[1])) {
  process.stderr.write(
    'runbook: needs Node ' + wanted.join('.') + ' or newer, found ' + process.versions.node + '\n',
  );
  process.exit(125);
}
require('./loader.js').load('main.cjs');
