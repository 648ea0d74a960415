import type { Code } from 'mdast';
import type { Diagnostic } from './diagnostic.ts';
import { codeBlocks, firstContentLine, hasTag, placeOf, type Section } from './markdown.ts';
import type { Script } from './model.ts';

const SHELL_TAGS = ['sh', 'bash', 'zsh', 'shell'];
const INTERPRETERS: Record<string, string> = { bash: 'bash', zsh: 'zsh' };

/** Reads the `Script` section: its first shell block, else its first block with a shebang line. */
export function readScript(section: Section): { script?: Script; diagnostics: Diagnostic[] } {
  const blocks = codeBlocks(section.nodes);
  const block =
    blocks.find((candidate) => hasTag(candidate, ...SHELL_TAGS)) ??
    blocks.find((candidate) => shebangOf(candidate.value));
  if (!block) {
    const message =
      'Expected a code block tagged sh, bash or zsh, or one that begins with a shebang line such as #!/bin/sh; found none';
    return { diagnostics: [{ rule: 'script/missing', severity: 'error', message, place: section.place }] };
  }
  if (block.value.trim() === '') {
    const message = 'The script is empty; write at least one command';
    return { diagnostics: [{ rule: 'script/missing', severity: 'error', message, place: placeOf(block) }] };
  }
  const diagnostics: Diagnostic[] = [];
  const others = blocks.filter((other) => other !== block);
  for (const other of others) {
    const message = 'Only the first script block runs; this one is ignored';
    diagnostics.push({ rule: 'script/second-block', severity: 'warning', message, place: placeOf(other) });
  }
  const script = scriptOf(block, diagnostics);
  return { script, diagnostics };
}

function scriptOf(block: Code, diagnostics: Diagnostic[]): Script {
  const text = `${withNewlines(block.value)}\n`;
  const shebang = shebangOf(text);
  // The kernel looks for `#!` in the first two bytes, so what stands before it goes.
  const dropped = shebang ? text.slice(0, text.indexOf('#!')) : '';
  const tag = block.lang?.toLowerCase() ?? '';
  if (!shebang) {
    const message = `The script has no shebang line, so it runs with ${INTERPRETERS[tag] ?? '/bin/sh'}; begin it with the interpreter it wants, such as #!/bin/zsh`;
    diagnostics.push({ rule: 'script/no-shebang', severity: 'warning', message, place: placeOf(block) });
  }
  return {
    text: text.slice(dropped.length),
    interpreter: shebang ?? [INTERPRETERS[tag] ?? '/bin/sh'],
    hasShebang: shebang !== undefined,
    line: firstContentLine(block) + dropped.split('\n').length - 1,
    place: placeOf(block),
  };
}

/** A lone CR ends a line only where nothing else does; elsewhere it is what the script's author wrote. */
function withNewlines(text: string): string {
  const unix = text.replaceAll('\r\n', '\n');
  return unix.includes('\n') ? unix : unix.replaceAll('\r', '\n');
}

/** The interpreter and its argument; as the kernel does, everything behind the first space is one argument. */
function shebangOf(text: string): [string, ...string[]] | undefined {
  const match = /^\s*#![ \t]*(\S+)(?:[ \t]+([^\r\n]*))?/.exec(text);
  if (!match?.[1]) return undefined;
  const argument = match[2]?.trim();
  return argument ? [match[1], argument] : [match[1]];
}
