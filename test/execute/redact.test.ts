import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it, type TestContext } from 'vitest';
import { redactText, redactorFor, type Redactor } from '../../src/execute/redact.ts';
import { isTooShort } from '../../src/execute/too-short.ts';
import { needs } from '../require.ts';

const TOKEN = 'ghp_16C7e42F292c6912E7710c838347Ae178B4a';
/** Has what each encoding treats in its own way. */
const ODD = `k7Zq it's "v9Xj"\\w3Pb/$HOME?a=1&b<2> +%;é€😀 m5Tg`;
const PEM = [
  '-----BEGIN PRIVATE KEY-----',
  'MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2',
  'OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r',
  '1RTwjmYSi9R/zpBnuQ4EiMnCqfMPWiZqB4QdbAd0E7oH50VpuZ1P087G',
  '-----END PRIVATE KEY-----',
  '',
].join('\n');

describe('a text without a secret', () => {
  it('passes as the very same bytes where there is nothing to search for', () => {
    const chunk = Buffer.from('anything');
    for (const secrets of [[], ['abc'], ['    ']]) {
      const redactor = redactorFor(secrets);
      expect(redactor.push(chunk)).toBe(chunk);
      expect(redactor.flush()).toHaveLength(0);
      expect(redactor.heldBytes).toBe(0);
    }
  });

  it('passes as the very same bytes where none of them may begin a secret', () => {
    const chunk = Buffer.from('all is well\n'.repeat(1000));
    expect(redactorFor([TOKEN, ODD]).push(chunk)).toBe(chunk);
  });

  it('passes unchanged, whatever bytes it has', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.array(fc.nat(400)), (bytes, cuts) => {
        expect(Buffer.from(inPieces(redactorFor([TOKEN, ODD, PEM]), bytes, cuts))).toEqual(
          Buffer.from(bytes),
        );
      }),
    );
  });
});

describe('a secret is replaced', () => {
  it.each([
    TOKEN,
    ODD,
    'four',
    'пароль',
    '密码密码',
    '😀😀😀😀',
    '"quoted"',
    `'`.repeat(5),
    '\\\\\\\\',
    PEM,
    ' x y ',
  ])('as it is: %j', (secret) => {
    expect(redactText(`<${secret}>${secret}\n`, [secret])).toBe('<***>***\n');
  });

  const forms: readonly (readonly [string, (secret: string) => string])[] = [
    ['JSON', (secret) => JSON.stringify(secret).slice(1, -1)],
    ['JSON in JSON', (secret) => JSON.stringify(JSON.stringify(secret)).slice(3, -3)],
    ['JSON in ASCII', (secret) => jsonEscaped(secret, /[^ -~]/g)],
    ['JSON in ASCII, upper case', (secret) => jsonEscaped(secret, /[^ -~]/g, true)],
    ['JSON with \\/', (secret) => JSON.stringify(secret).slice(1, -1).replaceAll('/', '\\/')],
    ['JSON as PHP writes it', (secret) => jsonEscaped(secret, /[^ -~]/g).replaceAll('/', '\\/')],
    ['JSON as Go writes it', (secret) => jsonEscaped(secret, /[<>&]/g)],
    ['JSON as .NET writes it', (secret) => jsonEscaped(secret, /[^ -~]|[<>&+'"`]/g, true)],
    ['encodeURIComponent', encodeURIComponent],
    ['encodeURIComponent, lower case', (secret) => lowerCodes(encodeURIComponent(secret))],
    ['encodeURI', encodeURI],
    ['a form', (secret) => new URLSearchParams({ a: secret }).toString().slice(2)],
    ['a form, lower case', (secret) => lowerCodes(new URLSearchParams({ a: secret }).toString().slice(2))],
    ['shell, single quotes', (secret) => secret.replaceAll("'", `'\\''`)],
    ['shell, as dash lists variables', (secret) => secret.replaceAll(/'+/g, (quotes) => `'"${quotes}"'`)],
    ['shell, single quotes twice', (secret) => secret.replaceAll("'", `'\\''\\'\\'''\\''`)],
    ['shell, double quotes', (secret) => secret.replaceAll(/["\\$`]/g, String.raw`\$&`)],
    ['shell, backslashes', (secret) => secret.replaceAll(/(?!^)[^\w]/gu, String.raw`\$&`)],
    ['base64', (secret) => base64(secret)],
    ['base64url', (secret) => Buffer.from(secret).toString('base64url')],
    ['hex', (secret) => hex(secret)],
    ['upper hex', (secret) => hex(secret).toUpperCase()],
    ['hex with blanks', (secret) => hex(secret).replaceAll(/..(?!$)/g, '$& ')],
    ['hex with colons', (secret) => hex(secret).replaceAll(/..(?!$)/g, '$&:')],
    ['hex in lines', (secret) => hex(secret).replaceAll(/.{60}(?!$)/g, '$&\n')],
  ];
  for (const secret of [TOKEN, ODD, PEM]) {
    it.each(forms)(`in %s: ${JSON.stringify(secret.slice(0, 8))}…`, (_, encode) => {
      expect(redactText(`<${encode(secret)}>`, [secret])).toBe('<***>');
    });
  }

  it('in hex, save the mark before the first, where every byte has one', () => {
    expect(redactText(hex(TOKEN).replaceAll(/../g, '%$&'), [TOKEN])).toBe('%***');
    expect(redactText(hex(TOKEN).replaceAll(/../g, String.raw`\x$&`), [TOKEN])).toBe(String.raw`\x***`);
  });

  it('in base64 of more than the secret, at every alignment', () => {
    for (const before of ['', 'u', 'us', 'use', 'user:'])
      for (const after of ['', '\n', 'x', '@host', '"}'])
        for (const encoding of ['base64', 'base64url'] as const) {
          const encoded = Buffer.from(`${before}${ODD}${after}`).toString(encoding);
          const shown = redactText(encoded, [ODD]);
          // A character that the neighbours have a part in may stay.
          expect(shown).toMatch(/^[\w+/-]*\*{3}[\w+/=-]*$/);
          expect(shown.length).toBeLessThanOrEqual(
            3 + Math.ceil((4 * (before.length + after.length)) / 3) + 4,
          );
          if (before === '' && after.length < 2 && after !== 'x') expect(shown).toBe('***');
        }
  });

  it('in base64 that is wrapped, wherever the line ends', () => {
    for (let before = 0; before < 80; before++)
      for (const [columns, lineEnd] of [
        [64, '\n'],
        [76, '\n'],
        [76, '\r\n'],
      ] as const) {
        const encoded = base64(`${'.'.repeat(before)}${ODD}${'.'.repeat(80)}`);
        const wrapped = encoded.replaceAll(new RegExp(`.{${columns}}`, 'g'), `$&${lineEnd}`);
        const shown = redactText(wrapped, [ODD]);
        expect(shown.split('***')).toHaveLength(2);
        expect(shown.replaceAll(/\s/g, '').length).toBeLessThanOrEqual(
          3 + Math.ceil((4 * (before + 80)) / 3) + 4,
        );
      }
  });

  it('where it stands beside another, overlaps it, or is the beginning of it', () => {
    expect(redactText('abcdefgh', ['abcd', 'efgh'])).toBe('******');
    expect(redactText('.abcdefgh.', ['abcdef', 'cdefgh'])).toBe('.***.');
    expect(redactText('.abcdefgh.abcdefg.', ['abcd', 'abcdefgh'])).toBe('.***.***efg.');
    expect(redactText('.abcdefgh.', ['cdef', 'abcdefgh'])).toBe('.***.');
    expect(redactText('aaaaaaaaa', ['aaaa'])).toBe('***');
    expect(redactText('abababac', ['ababac'])).toBe('ab***');
  });

  it('only where it stands in the quotes that it has', () => {
    expect(redactText("se'cret", ["se'cret"])).toBe('***');
    expect(redactText(String.raw`'se'\''cret' secret`, ["se'cret"])).toBe("'***' secret");
  });
});

describe('a value of several lines', () => {
  it('is replaced as a whole', () => {
    expect(redactText(`key: ${PEM}.`, [PEM])).toBe('key: ***.');
    expect(redactText(base64(PEM).replaceAll(/.{76}/g, '$&\n'), [PEM])).toBe('***');
  });

  it('is replaced line by line, wherever a line stands', () => {
    const lines = PEM.trim().split('\n');
    expect(redactText(`  ${lines[2]!}\r\n`, [PEM])).toBe('  ***\r\n');
    expect(redactText(JSON.stringify(lines.slice(1, 3)), [PEM])).toBe('["***","***"]');
    expect(redactText(lines.map((line) => `| ${line} |`).join('\n'), [PEM])).toBe(
      [
        '| -----BEGIN PRIVATE KEY----- |',
        '| *** |',
        '| *** |',
        '| *** |',
        '| -----END PRIVATE KEY----- |',
      ].join('\n'),
    );
  });

  it('has lines that say nothing, which stay', () => {
    const config = '{\n  "auths": {\n    "r.io": {\n      "auth": "dTpwYXNz"\n    }\n  }\n}\n';
    expect(redactText('data:\n}\n  "auths": {\n---\n"auth": "dTpwYXNz"', [config, 'a\ndata:\n---\nb'])).toBe(
      'data:\n}\n  "auths": {\n---\n***',
    );
  });

  it('counts without the newline at its end', () => {
    expect(redactText('<hunter2>', ['hunter2\n'])).toBe('<***>');
    expect(redactText('<hunter2>', ['  hunter2 '])).toBe('<***>');
  });
});

describe('what other programs write', () => {
  const PYTHON = `import json, shlex, sys, urllib.parse
data = sys.stdin.buffer.read()
text = data.decode()
for written in (json.dumps(text), data, [text], shlex.quote(text), urllib.parse.quote(text), urllib.parse.quote_plus(text)):
    print(written)`;
  const tools: readonly (readonly [string, readonly [string, ...string[]]])[] = [
    ['base64', ['base64']],
    ['base64 in one line', ['base64', '-w0']],
    ['openssl', ['openssl', 'base64']],
    ['openssl in one line', ['openssl', 'base64', '-A']],
    ['xxd', ['xxd', '-p']],
    ['xxd, upper case', ['xxd', '-p', '-u']],
    ['od', ['od', '-An', '-v', '-tx1', '-w1000']],
    ['jq', ['jq', '-Rs', '.']],
    ['jq in ASCII', ['jq', '-Rsa', '.']],
    ['jq, base64', ['jq', '-Rsr', '@base64']],
    ['jq, URL', ['jq', '-Rsr', '@uri']],
    ['jq, shell', ['jq', '-Rsr', '@sh']],
    ['jq, JSON in JSON', ['jq', '-Rs', 'tojson']],
    ['python3', ['python3', '-c', PYTHON]],
    ['perl', ['perl', '-MMIME::Base64', '-0777', '-ne', 'print encode_base64($_, "\r\n")']],
  ];
  for (const [name, command] of tools)
    for (const [index, secret] of [TOKEN, ODD, PEM, `k7Zq\tv9Xj\r\nw3Pb'm5Tg`].entries())
      it(`${name}, secret ${index}`, (context) => {
        const shown = redactText(output(command, `user=${secret}`, context), [secret]);
        // No more may be left than what was written of the rest, and at the edges.
        const rest = output(command, 'user=', context);
        expect(shown).toContain('***');
        expect(withoutMarks(shown).length, shown).toBeLessThanOrEqual(withoutMarks(rest).length + 10);
      });
});

describe('what shells write', () => {
  const POSIX = `
    echo "$V"; echo $V; x=$V; y="pre-$V-post"; set -- "$V" "a $V b"; export Y="$V"; [ "$V" = foo ] || :
    case $V in a) ;; esac; for i in "$V"; do :; done; readonly z="$V"; alias n="$V"; alias n; eval ': "$V"'
    set +x; set | grep -a '^V='; export -p | grep -a V=; trap "echo $x" USR1; trap 2>/dev/null`;
  const BASH = `${POSIX}
    set -x; [[ foo == "$V" ]]; [[ "$V" == foo ]]; declare -A h; h[k]="$V"; f() { local q="$V"; }; f "$V"; a=("$V")
    set +x; printf '%q\\n' "$V"; echo "\${V@Q}" "\${V@A}" "\${V@K}"; declare -p V h a
    set -x; bash -xc ': "$V"'; echo "\${V@Q}"`;
  const ZSH = `${POSIX}
    set -x; [[ foo == "$V" ]]; [[ "$V" == foo ]]; typeset -A h; h[k]="$V"; f() { local q="$V"; }; f "$V"; a=("$V")
    set +x; printf '%q\\n' "$V"; print -r -- "\${(q)V}" "\${(qq)V}" "\${(qqq)V}" "\${(q-)V}" "\${(q+)V}"; typeset -p V h a`;
  const FISH = `set fish_trace 1; echo "$V"; set x "$V"; test "$V" = foo; set --show V; string escape -- "$V"
    string escape --style=url -- "$V"`;
  const shells = [
    { name: 'sh', command: ['sh', '-xc', POSIX], needed: [] },
    { name: 'bash', command: ['bash', '--norc', '-xc', BASH], needed: ['bash'] },
    { name: 'bash as sh', command: ['bash', '--posix', '-xc', POSIX], needed: ['bash'] },
    { name: 'zsh', command: ['zsh', '-fxc', ZSH], needed: ['zsh'] },
    { name: 'fish', command: ['fish', '--no-config', '-c', FISH], needed: ['fish'] },
  ] as const;
  /** Parts of which none may be seen, with anything between them. */
  const parts = ['k7Zq', 'v9Xj', 'w3Pb', 'm5Tg'];
  const secrets = [
    parts.join(''),
    parts.join("'"),
    `'${parts.join(`"'`)}'`,
    parts.join("''"),
    parts.join('\\'),
    parts.join('\\n'),
    parts.join(' '),
    parts.join('$x`y`"!'),
    parts.join(';&|<>(){}[]*?~#=%^,:@+-_./'),
    `~${parts.join('é€😀ß')}`,
    parts.join("é'\\ "),
    parts.join('\u00a0\u200b\u2028'),
    parts.join('\n'),
    parts.join(`\t'`),
    parts.join('\r\n'),
  ];
  for (const { name, command, needed } of shells)
    for (const locale of ['C', 'C.UTF-8'])
      it(`${name}, in locale ${locale}`, (context) => {
        needs(context, ...needed);
        if (name === 'fish' && locale === 'C')
          context.skip('there fish takes bytes for characters of Latin-1');
        for (const secret of secrets) {
          // In bytes, for in locale C a shell may write what is no text.
          const written = outputOfShell(command, secret, locale);
          expect(Buffer.from(written).includes(parts[0]!)).toBe(true);
          const shown = Buffer.from(inPieces(redactorFor([secret]), written, [])).toString('latin1');
          const seen = shown.replaceAll(/['"\\]/g, '');
          expect(
            parts.filter((part) => seen.includes(part)),
            `${secret}\n${shown}`,
          ).toEqual([]);
        }
      });
});

describe('a stream', () => {
  const secretText = fc.oneof(
    fc.string({ unit: 'binary', minLength: 4, maxLength: 12 }),
    fc.string({ unit: fc.constantFrom('a', 'b', "'", '\\', '\n', '+', '/'), minLength: 4, maxLength: 12 }),
  );
  const encodings: readonly ((text: string) => string)[] = [
    (text) => text,
    (text) => text.slice(0, -1),
    (text) => text.slice(1),
    base64,
    (text) => base64(`x${text}yz`),
    (text) => base64(text).replaceAll(/.{5}/g, '$&\r\n'),
    hex,
    (text) => hex(text).toUpperCase().replaceAll(/../g, '$&:'),
    (text) => encodeURIComponent(text.toWellFormed()),
    (text) => JSON.stringify(text),
    (text) => text.replaceAll("'", `'\\''`),
  ];
  const scene = fc.array(secretText, { minLength: 1, maxLength: 3 }).chain((secrets) =>
    fc.record({
      secrets: fc.constant(secrets),
      text: fc
        .array(
          fc.oneof(
            fc.string({ maxLength: 40 }),
            fc
              .tuple(fc.constantFrom(...secrets), fc.constantFrom(...encodings))
              .map(([secret, encode]) => encode(secret)),
          ),
          { maxLength: 6 },
        )
        .map((pieces) => pieces.join('').toWellFormed()),
    }),
  );

  it('comes out the same, wherever it is cut in two, and byte by byte', () => {
    fc.assert(
      fc.property(scene, ({ secrets, text }) => {
        const bytes = Buffer.from(text);
        const whole = redactText(text, secrets);
        for (let cut = 0; cut <= bytes.length; cut++)
          expect(Buffer.from(inPieces(redactorFor(secrets), bytes, [cut])).toString()).toBe(whole);
        expect(Buffer.from(inPieces(redactorFor(secrets), bytes, bytes.keys())).toString()).toBe(whole);
      }),
      { numRuns: 300 },
    );
  });

  it('has no secret left, as it is or encoded', () => {
    fc.assert(
      fc.property(scene, ({ secrets, text }) => {
        const shown = redactText(text, secrets);
        // What stands for a secret may itself be the beginning of another; of quotes alone nothing is left to see.
        const wanted = secrets.filter(
          (secret) => !isTooShort(secret) && !/\*|^['"\\]*.?['"\\]*$/s.test(secret),
        );
        for (const secret of wanted)
          for (const encode of [encodings[0]!, base64, hex, JSON.stringify])
            expect(shown.includes(encode(secret.toWellFormed()))).toBe(false);
      }),
      { numRuns: 1000 },
    );
  });

  it('is as good as the bytes that were given to it, though their buffer is used again', () => {
    const redactor = redactorFor([TOKEN]);
    const chunk = Buffer.from(TOKEN.slice(0, 10));
    expect(redactor.push(chunk)).toHaveLength(0);
    chunk.fill('x');
    expect(Buffer.from(redactor.push(Buffer.from('.'))).toString()).toBe(`${TOKEN.slice(0, 10)}.`);
  });

  it('holds back what may be the beginning of a secret, and nothing else', () => {
    const redactor = redactorFor([TOKEN]);
    const push = (text: string): string => Buffer.from(redactor.push(Buffer.from(text))).toString();
    expect(push('no newline, no wait')).toBe('no newline, no wait');
    expect(push(`token: ${TOKEN.slice(0, 4)}`)).toBe('token: ');
    expect(redactor.heldBytes).toBe(4);
    expect(push(TOKEN.slice(4, -1))).toBe('');
    expect(redactor.heldBytes).toBe(TOKEN.length - 1);
    expect(push(TOKEN.slice(-1))).toBe('***');
    expect(redactor.heldBytes).toBe(0);
    expect(push('ghp_no')).toBe('ghp_no');
    expect(push('ghp_ghp_1')).toBe('ghp_');
    expect(Buffer.from(redactor.flush()).toString()).toBe('ghp_1');
    expect(redactor.heldBytes).toBe(0);
  });

  it('hides the rest of a secret whose beginning went out after a silence', () => {
    const redactor = redactorFor([TOKEN]);
    redactor.push(Buffer.from(`.${TOKEN.slice(0, 6)}`));
    expect(Buffer.from(redactor.flush()).toString()).toBe(TOKEN.slice(0, 6));
    expect(Buffer.from(redactor.push(Buffer.from(`${TOKEN.slice(6)}.`))).toString()).toBe('***.');
  });

  it('marks what overlaps once, though the mark has gone out before its end was seen', () => {
    const redactor = redactorFor(['abab']);
    const out = Array.from('xababababx', (char) => Buffer.from(redactor.push(Buffer.from(char))).toString());
    expect(out).toEqual(['x', '', '', '', '***', '', '', '', '', 'x']);
  });

  it('is read in linear time: nearly a secret, over and over', () => {
    const size = 1_000_000;
    const nearly = `${'a'.repeat(4000)}b`;
    expect(redactText('a'.repeat(size), [nearly, 'ab'.repeat(2000)])).toBe('a'.repeat(size));
    expect(redactText('a'.repeat(size), ['aaaa', nearly])).toBe('***');
    expect(redactText("'".repeat(size), [`a${"'".repeat(1000)}b`])).toBe("'".repeat(size));
    expect(redactText('0'.repeat(size), ['0'.repeat(1000), '\0'.repeat(3000)])).toBe('***');
  });
});

describe('many and long secrets', () => {
  it('a hundred of them', () => {
    const secrets = Array.from({ length: 100 }, (_, index) => `token-${index}-${'abcdef'.repeat(4)}`);
    const text = secrets.map((secret) => `${secret} ${base64(secret)} ${hex(secret)}`).join('\n');
    expect(redactText(text, secrets)).toBe(secrets.map(() => '*** *** ***').join('\n'));
  });

  it.each([
    ['a megabyte in one line', 1_000_000, (index: number) => index.toString(36).padStart(8, '-')],
    ['lines', 100_000, (index: number) => `${index.toString(36).padStart(40, '.')}\n`],
  ])('of %s: replaced, and little of it held back', (_, length, piece) => {
    let secret = '';
    for (let index = 0; secret.length < length; index++) secret += piece(index);
    const redactor = redactorFor([secret]);
    const bytes = Buffer.from(`<${secret}><${base64(secret)}>`);
    const out: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at += 1000) {
      out.push(redactor.push(bytes.subarray(at, at + 1000)));
      expect(redactor.heldBytes).toBeLessThan(4096);
    }
    expect(Buffer.concat([...out, redactor.flush()]).toString()).toBe('<***><***>');
  });
});

describe('a value is too short to be replaced', () => {
  it.each(['', 'abc', '   ', '    ', 'äöü', '😀😀😀'])('%j', (value) => {
    expect(isTooShort(value)).toBe(true);
    expect(redactText(`.${value}.`, [value])).toBe(`.${value}.`);
  });

  it.each(['abcd', 'äöüß', '😀😀😀😀', ' ab '])('but not %j', (value) => {
    expect(isTooShort(value)).toBe(false);
    expect(redactText(`.${value}.`, [value])).toBe('.***.');
  });
});

/** What a redactor makes of bytes that come cut at these indexes. */
function inPieces(redactor: Redactor, bytes: Uint8Array, cuts: Iterable<number>): Uint8Array {
  const sorted = [...new Set([0, ...cuts, bytes.length])]
    .filter((cut) => cut <= bytes.length)
    .toSorted((a, b) => a - b);
  const out = sorted.map((cut, index) =>
    Uint8Array.from(redactor.push(bytes.subarray(cut, sorted[index + 1] ?? cut))),
  );
  return Buffer.concat([...out, redactor.flush()]);
}

function output(command: readonly [string, ...string[]], input: string, context: TestContext): string {
  const { stdout, error, status } = spawnSync(command[0], command.slice(1), { input });
  if (error && process.env['RUNBOOK_TEST_REQUIRE'] !== 'all')
    context.skip(`this machine lacks: ${command[0]}`);
  expect(status).toBe(0);
  return stdout.toString();
}

function outputOfShell(
  [program, ...args]: readonly [string, ...string[]],
  secret: string,
  locale: string,
): Uint8Array {
  const env = { PATH: process.env['PATH'], HOME: '/nonexistent', LC_ALL: locale, V: secret };
  const { stdout, stderr } = spawnSync(program, args, { env });
  return Buffer.concat([stdout, stderr]);
}

function withoutMarks(text: string): string {
  return text.replaceAll(/\*{3}|\s/g, '');
}

function base64(text: string): string {
  return Buffer.from(text).toString('base64');
}

function hex(text: string): string {
  return Buffer.from(text).toString('hex');
}

function lowerCodes(text: string): string {
  return text.replaceAll(/%../g, (code) => code.toLowerCase());
}

function jsonEscaped(text: string, characters: RegExp, upper = false): string {
  return JSON.stringify(text)
    .slice(1, -1)
    .replaceAll(/\\.|[^\\]/g, (piece) => {
      const char = JSON.parse(`"${piece}"`) as string;
      const escape = piece.length > 1 && piece !== '\\"' ? piece : undefined;
      characters.lastIndex = 0;
      if (escape !== undefined || !characters.test(char)) return piece;
      const code = char.charCodeAt(0).toString(16).padStart(4, '0');
      return `\\u${upper ? code.toUpperCase() : code}`;
    });
}
