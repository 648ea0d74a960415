import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { undeclaredVariables } from '../../src/check/shell.ts';

type Shell = Parameters<typeof undeclaredVariables>[1];

const base = new Set(['HOME', 'USER', 'TMPDIR']);
const check = (text: string, shell: Shell = 'bash') =>
  undeclaredVariables(text, shell, (name) => base.has(name));

/** The names in the order of their use; a `?` stands behind those that the script can do without. */
const namesIn = (text: string, shell: Shell = 'bash') =>
  check(text, shell)
    .uses.map(({ name, optional }) => (optional ? `${name}?` : name))
    .join(' ');

/** A script, and what is expected of it. */
type Row = readonly [script: string, names: string];

describe('a script uses', () => {
  it.each<Row>([
    ['echo $X', 'X'],
    ['echo "${X}"', 'X'],
    ['echo "a $X b ${Y}c"', 'X Y'],
    ['echo ${#X} ${X%.txt} ${X##*/} ${X^^} ${X@Q} ${X[0]} ${X[@]}', 'X'],
    ['echo ${!X}', 'X'],
    ['echo "${X/$A/$B}" ${Y:$C:$D} ${Y:e:f}', 'X A B Y C D e f'],
    ['echo ${X:-${Y:-$Z}}', 'X? Y? Z'],
    ['cat <<EOF\n$X `echo $Y` $(echo $Z) $((W + 1))\nEOF', 'X Y Z W'],
    ['cat <<-EOF | grep $Y\n\t$X\n\tEOF', 'Y X'],
    ['grep a <<< "$X" > "$Y" 2>> ${Z}', 'X Y Z'],
    ['echo $((X + 1)) $[Y * 2]', 'X Y'],
    ['if ((X > 3 && Y[0])); then :; fi', 'X Y'],
    ['for ((i = X; i < $Y; i++)); do echo $i; done', 'X Y'],
    ['a=$(b "$(c $X)") d=`e $Y`', 'X Y'],
    ['diff <(sort $X) <(sort "$Y") > >(tee $Z)', 'X Y Z'],
    ['[[ $X == "$Y"* && -f $Z/a || ! ( -n $W ) ]]', 'X Y Z W'],
    ['case $X in "$Y") echo $Z ;; esac', 'X Y Z'],
    ['f() { echo "$1 $X"; }; function g { echo $Y; }', 'X Y'],
    ['if $A; then b; elif c $B; then d $C; else e $D; fi', 'A B C D'],
    ['while read -r line; do echo "$line$X"; done < "$Y"', 'X Y'],
    [': "${X:?is required}" "${Y?}"', 'X Y'],
    ['export X', 'X'],
    ['export -n X; export -- Y', 'X Y'],
    ['X=$Y Z+=$W arr[$I]=$J list=($K [a]=$L)', 'Y W I J K L'],
    ['ssh host <<EOF\nsystemctl restart $X\nEOF', 'X'],
    ['ssh host "echo $X \\$Y"', 'X'],
    ['curl -H "Authorization: Bearer $TOKEN" "$URL/v1" | jq -r ".[\\"$KEY\\"]"', 'TOKEN URL KEY'],
    ['docker run -e A="$X" -e B img', 'X'],
    ['env A=$X B=1 cmd "$B"', 'X B'],
    ['echo $"translated $X" $\'not $Y\'', 'X'],
    ['{ a $X; } | ( b $Y ) & c $Z', 'X Y Z'],
    ['time ! cmd "$X" || { echo "$Y"; exit; }', 'X Y'],
    ['trap "rm -rf $X" EXIT', 'X'],
    ['echo {a,$X}/{1..3} @($Y|b)', 'X Y'],
    ['(( ${X:-0} > Y ))', 'X? Y'],
  ])('%j: %s', (script, names) => {
    expect(namesIn(script)).toBe(names);
  });
});

describe('a script can do without', () => {
  it.each<Row>([
    ['echo ${X:-a} ${Y-b} ${Z:+c} ${W+d}', 'X? Y? Z? W?'],
    ['[ -v X ] || test -v Y || [[ -v Z && -v W[1] ]]', 'X? Y? Z? W?'],
    ['cmd ${X:+--flag "$X"}', 'X?'],
    ['cmd "${X[@]+"${X[@]}"}"', 'X?'],
    ['if [ -z "${X:-}" ]; then exit; fi', 'X?'],
    ['echo ${X:-a}; echo $X', 'X'],
    ['echo $X; echo ${X:-a}', 'X'],
    ['cmd ${X:+a}; echo $X', 'X'],
  ])('%j: %s', (script, names) => {
    expect(namesIn(script)).toBe(names);
  });
});

describe('a script has from itself, or from its shell, whatever it uses in', () => {
  it.each([
    'X=1; echo $X',
    'echo $X; X=1',
    'f() { X=1; }; echo $X',
    'X=1 env | grep "$X"',
    'X+=a; Y[0]=b; echo $X ${Y[0]}',
    'for x in a b; do echo $x; done; select y in c; do echo $y; done',
    'for x; do echo "$x"; done',
    'read x; IFS= read -r y; read -rp "name: " z < f; read -ra l -t 5 -d "" -n 1; echo $x $y $z $l $REPLY',
    'export A=1 "B=$HOME" C="x"; readonly D=2; echo $A $B $C $D',
    'f() { local a b=1; local -r c=2; declare -i d; typeset e; declare -A m=([k]=v); echo $a $b $c $d $e ${m[k]}; }',
    'printf -v line "%s" a; echo $line',
    'while getopts "ab:" opt; do echo $opt $OPTARG $OPTIND; done',
    'mapfile -t lines < f; readarray -d "" -O 1 more < g; echo ${lines[@]} ${more[0]}',
    'let a=1 "b = 2" c++; echo $a $b $c',
    '(( a = 1, b += 2, ++c, d-- )); echo $((e = 3)) $a $b $c $d $e',
    ': ${X:=default} ${Y=other}; echo $X $Y',
    'exec {fd}> f; echo hi >&$fd',
    'coproc cat; echo ${COPROC[0]} $COPROC_PID; coproc NAME { cat; }; echo ${NAME[1]} $NAME_PID',
    'wait -n -p job; echo $job',
    'command read a; builtin printf -v b x; echo $a $b',
    'echo $1 ${2} $@ "$*" $# $? $$ $! $- $0 $_ ${10} ${@:2} ${#} ${*%x} ${!#}',
    'echo $PWD $OLDPWD $IFS $PPID $RANDOM $SECONDS $LINENO $UID $EUID $SHLVL $HOSTNAME $BASH_VERSION $PATH',
    'echo ${BASH_SOURCE[0]} ${FUNCNAME[0]} ${PIPESTATUS[*]} $EPOCHSECONDS $OSTYPE; [[ a =~ b ]] && echo ${BASH_REMATCH[1]}',
    'echo $HOME $USER ~ ~/x "${TMPDIR:-/tmp}"',
    "awk '{ print $1, $NF }' f; perl -ne 'print $ENV{X}'; sh -c 'echo $X'; jq '.a as $x | $x'",
    "cat <<'EOF'\n$X $(cmd $Y)\nEOF",
    'cat <<\\EOF\n$X\nEOF',
    'cat <<EOF\n\\$X \\${Y}\nEOF',
    'echo \\$X "\\$Y" \'$Z\' # $W',
    'echo "cost: 5$" $ "$" a$ "100$."',
    'kubectl get pod -o jsonpath="{.items[*].metadata.name}"',
    'echo ${!PREFIX_@} ${!OTHER_*}',
    'unset X; unset -f f',
    'export -f f; declare -F f; declare -p X; typeset -f g',
    'X=${X:-default}',
    'a=(1 2); i=0; echo ${a[i]} ${a[i + 1]} $((a[0] + 0x1f + 2#101 + 1))',
    'declare -A m; m[key]=v; echo ${m[key]} ${m[other]}; m+=([b]=c)',
    'make FOO=1; env -i A=1 cmd; dd if=a of=b; git -c a.b=c',
    'while IFS== read -r k v; do echo "$k $v"; done < <(cmd)',
    'cmd | while read -r a b _; do echo $a $b; done',
    '. /etc/os-release; echo $ID $VERSION_ID',
    'eval "$(ssh-agent -s)"; kill $SSH_AGENT_PID',
    'case $1 in a|b) x=1 ;; *) x=2 ;; esac; echo $x',
    'echo "${x:-$(date +%s)}"; x=1',
    'echo $(( $# > 0 ? 1 : 0 )) ${#1}',
    'f() { echo "$((n * 2))"; }; n=3; f',
    '#!/bin/bash\n# uses $X\necho',
  ])('%j', (script) => {
    expect(namesIn(script)).toBe('');
  });
});

describe('a zsh script uses', () => {
  it.each<Row>([
    ['print -r -- $x ${(f)y} ${(j:, :)z} "${(@)w}"', 'x y z w'],
    ['echo $~a $=b $^c $==d $#e ${~f} ${=g} ${^h} ${#i}', 'a b c d e f g h i'],
    ['echo ${x:t} ${x:h:r} ${y:A} ${x:#pattern} ${z//(#m)[a-z]/$w}', 'x y z w'],
    ['echo ${${x:t}%.txt} ${(f)"$(cmd $y)"} ${${(s: :)z}[1]} ${:-$w}', 'x y z w'],
    ['(( ${+X} )) && (( $+Y )) && [[ -v Z ]]', 'X? Y? Z?'],
    ['(( $+commands[git] )) || echo $path[1] $argv $status $pipestatus $ZSH_VERSION', ''],
    ['for i in {1..3}; do echo $i; done; [[ -n $x ]]', 'x'],
    ['typeset -A m; m[key]=v; m=(a $x); echo $m[key] ${(kv)m}', 'x'],
    ['for f (a $x) echo $f$y', 'x y'],
    ['for f ($x/*.log(.N)) { echo $f }; echo $y', 'x y'],
    ['for k v in ${(kv)m}; do echo $k $v; done; echo $y', 'm y'],
    ['for k v (a b\n c d); do echo $k $v; done; echo $y', 'y'],
    ['foreach x (a b)\n  echo $x$y\nend', 'y'],
    ['for x in a b; echo $x$y', 'y'],
    ['ls *(.N) *.txt(.om[1,5]) $x/**/*(/) (a|b).$y ^*.z', 'x y'],
    ['for f in $d/*.log(N.mh+24); do rm $f; done; echo $y', 'd y'],
    ['files=( $d/**/*.sql(.Nom) ); (( $#files )) || echo $y', 'd y'],
    ['[[ $x == (a|b)* && $x = *.(tar|zip) ]]; echo $y', 'x y'],
    ['[[ $x == (#i)foo* ]]; [[ $x = (#b)([^.]##).(*) ]] && echo $match[1] $y', 'x y'],
    ['[[ $x == <1-9> || $x != <-> ]]; echo $y', 'x y'],
    ['if [[ -n $x ]] { echo $y } elif (( z )) { echo $a } else { echo $b }; echo $c', 'x y z a b c'],
    ['if [[ -n $x ]] echo $y; echo $z', 'x y z'],
    ['while (( x < 3 )) { echo $y }; until [[ -e $z ]] { sleep 1 }', 'x y z'],
    ['repeat 3 { n=1; echo $n$x }; repeat 2; do echo $y; done; repeat $z echo', 'x y z'],
    ['f() { n=1; echo $n$x }\ng() echo $y\nfunction a b { echo $z }\nfunction { echo $w }', 'x y z w'],
    ['() { local n=$1; echo $n$x } arg; echo $y', 'x y'],
    ['{ a $x } always { b $y }; echo $z', 'x y z'],
    ['diff =(a $x) <(b $y)', 'x y'],
    ['case $x in ([ab]*) echo 1 ;| (c|d) echo $y ;; esac', 'x y'],
    ['cmd >! out; cmd >>| $x; cmd &!; cmd &| echo $y', 'x y'],
    ['integer n=0; float r; read -q "ok?Sure? "; read -k 1 key; echo $n $r $ok $key', ''],
    ['zparseopts -D -E -- n=dry -tag:=tag v+:=verbose; echo $dry $tag $verbose', ''],
    ['vared -c line; set -A list a b; print -v msg x; echo $line $list $msg', ''],
    ['autoload -Uz colors && colors; print "$fg[red]x$reset_color" %F{red}', ''],
    ['setopt extended_glob; echo $x[(i)b] ${x[(r)$y]} $x[-1]', 'x y'],
    ['if [[ -n $x ]]; then; echo $y; fi', 'x y'],
  ])('%j: %s', (script, names) => {
    expect(namesIn(script, 'zsh')).toBe(names);
    expect(check(script, 'zsh').notUnderstood).toEqual([]);
  });
});

describe('each shell has variables of its own', () => {
  it.each<[Shell, string]>([
    ['sh', ''],
    ['bash', ''],
    ['dash', 'HOSTNAME RANDOM'],
    ['ksh', 'HOSTNAME'],
    ['zsh', 'HOSTNAME'],
  ])('%s', (shell, names) => {
    expect(namesIn('echo $PWD $OPTARG $HOSTNAME $RANDOM $PPID', shell)).toBe(names);
  });

  it('zsh has many that others lack', () => {
    expect(namesIn('echo $HOST $argv', 'zsh')).toBe('');
    expect(namesIn('echo $HOST $argv')).toBe('HOST argv');
  });
});

describe('a use has the place of the name', () => {
  const placesOf = (text: string, shell?: Shell) =>
    check(text, shell).uses.map(({ name, line, column, endColumn }) => [
      name,
      `${line}:${column}-${endColumn}`,
    ]);

  it('on its line, 1-based, the end exclusive', () => {
    expect(placesOf('#!/bin/bash\n\necho "$FIRST" \\\n  ${SECOND%x}')).toEqual([
      ['FIRST', '3:8-13'],
      ['SECOND', '4:5-11'],
    ]);
  });

  it('in arithmetic, tests and declarations', () => {
    expect(placesOf('(( A + 1 ))\n[[ -v B ]]\nexport C "D"')).toEqual([
      ['A', '1:4-5'],
      ['B', '2:7-8'],
      ['C', '3:8-9'],
      ['D', '3:11-12'],
    ]);
  });

  it('in substitutions, here-documents and backticks that hold escapes', () => {
    const text = 'a=$(b "$(c $X)")\ncat <<EOF\n  $Y\nEOF\nd=`e "\\$f" \\`g $Z\\``';
    expect(placesOf(text)).toEqual([
      ['X', '1:13-14'],
      ['Y', '3:4-5'],
      ['f', '5:9-10'],
      ['Z', '5:17-18'],
    ]);
  });

  it('of the first use, or of the first that the script cannot do without', () => {
    expect(placesOf('echo ${X:-a}\necho $X\necho $X')).toEqual([['X', '2:7-8']]);
    expect(placesOf('echo ${X:-a}\necho ${X:-b}')).toEqual([['X', '1:8-9']]);
  });

  it('in constructs of zsh', () => {
    const text = 'for f (a $A) { ls *.x(N) ${(f)B} }\necho $~C ${${(s:,:)D}[1]} $+E ${+F}';
    expect(placesOf(text, 'zsh')).toEqual([
      ['A', '1:11-12'],
      ['B', '1:31-32'],
      ['C', '2:8-9'],
      ['D', '2:20-21'],
      ['E', '2:29-30'],
      ['F', '2:34-35'],
    ]);
  });
});

describe('says what it does not understand', () => {
  const notesOf = (text: string, shell?: Shell) =>
    check(text, shell).notUnderstood.map(({ message, line, column }) => `${line}:${column} ${message}`);

  it('code that the script makes up or reads, once for each kind', () => {
    expect(notesOf('source ./a.sh\n. b.sh\neval "$x"; eval y\nexport "$k=$v" $(cat .env)')).toEqual([
      expect.stringMatching(/^1:1 The sourced file /),
      expect.stringMatching(/^3:1 What `eval` runs /),
      expect.stringMatching(/^4:8 A name that `export` is given is computed/),
    ]);
  });

  it('words that `eval` and its like are given are uses, and assignments in them count', () => {
    expect(namesIn('eval "cmd $X"; . "$Y/lib.sh"')).toBe('X Y');
    expect(namesIn("eval 'x=1'; echo $x")).toBe('');
  });

  it('where the parser is lost, with what it found before', () => {
    const { uses, notUnderstood } = check('echo $X\nif true; then\n  echo )\nfi\n');
    expect(uses.map(({ name }) => name)).toEqual(['X']);
    expect(notUnderstood).toEqual([{ message: expect.stringContaining("')'"), line: 3, column: 8 }]);
  });

  it('what zsh alone understands, with what stands around it', () => {
    const { uses, notUnderstood } = check('echo $X\ncase $Y { a) echo $Z ;; }\necho $W', 'zsh');
    expect(uses.map(({ name }) => name)).toEqual(['X', 'Y', 'Z', 'W']);
    expect(notUnderstood).toEqual([{ message: expect.stringContaining('zsh'), line: 2, column: 9 }]);
  });

  it('errors within substitutions', () => {
    expect(notesOf('x=$(echo a; fi; echo b)')).toEqual([expect.stringMatching(/^1:13 .*'fi'/)]);
  });

  it('no false alarms behind an open quote, nor for what is set where the parser does not come', () => {
    expect(namesIn("echo $X \"\nawk '{ print $NF }'")).toBe('X');
    expect(namesIn('f() { echo $x $y $z; }\n)\nx=1\nfor y in a; do :; done\nread -r z')).toBe('');
  });

  it('scripts that nest without end', () => {
    for (const piece of ['$(', '${', '"$(', '<(', 'cat <<A ', 'f()', '((', '[[ ( ', 'if ']) {
      expect(notesOf(piece.repeat(100_000))).toHaveLength(1);
    }
  });
});

describe('never in the way', () => {
  const shells = fc.constantFrom<Shell>('sh', 'bash', 'zsh', 'ksh', 'dash');
  const pieces = fc.constantFrom(
    ...'$ ${ } $( ) ( (( )) ` " \' \\ ; | & < > << EOF if then fi for in do done case esac { [[ ]] = #'.split(
      ' ',
    ),
    ...'X a 1 * (.N) (f) : - + ! [ ] export read eval repeat else elif always function'.split(' '),
    ' ',
    '\n',
    '\t',
  );
  const texts = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(pieces).map((list) => list.join('')),
  );

  it('any text is taken, and every use is where it says', () => {
    fc.assert(
      fc.property(texts, shells, (text, shell) => {
        const lines = text.split('\n');
        for (const { name, line, column, endColumn } of check(text, shell).uses) {
          expect(lines[line - 1]?.slice(column - 1, endColumn - 1)).toBe(name);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it('a script that uses only what it sets needs nothing', () => {
    const name = fc.stringMatching(/^[a-z][a-z_]{1,6}$/);
    const setting = fc.constantFrom<(name: string) => string>(
      (n) => `${n}=1`,
      (n) => `read -r ${n}`,
      (n) => `for ${n} in a b; do :; done`,
      (n) => `typeset ${n}=2`,
      (n) => `export ${n}="a b"`,
      (n) => `: "\${${n}:=x}"`,
      (n) => `(( ${n} = 4 ))`,
      (n) => `getopts ab: ${n}`,
    );
    const using = fc.constantFrom<(name: string) => string>(
      (n) => `echo $${n}`,
      (n) => `echo "\${${n}%x} \${#${n}}"`,
      (n) => `[[ -n $${n} ]] && echo $(cat "$${n}")`,
      (n) => `cat <<EOF\n$${n}\nEOF`,
      (n) => `echo $((${n} + 1))`,
      (n) => `if [ "$${n}" = a ]; then f() { echo \`echo $${n}\`; }; fi`,
    );
    const statements = fc.array(fc.tuple(name, setting, using), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(statements, fc.constantFrom<Shell>('bash', 'zsh'), (list, shell) => {
        const lines = list.flatMap(([n, set, use]) => [use(n), set(n)]);
        expect(check(lines.join('\n'), shell)).toEqual({ uses: [], notUnderstood: [] });
      }),
    );
  });

  it('a large script does not take long', () => {
    const lines = Array.from({ length: 20_000 }, (_, n) => `echo "$V${n}" $(cmd \${Y:-$Z} | jq .a) > f${n}`);
    for (const shell of ['bash', 'zsh'] as const) {
      const start = performance.now();
      expect(check(lines.join('\n'), shell).uses).toHaveLength(20_002);
      expect(performance.now() - start).toBeLessThan(5_000);
    }
  });
});
