import { describe, expect, it } from 'vitest';
import { parseRunbook } from '../../src/runbook/parse.ts';
import { documentOf, parse, rules, textAt } from './material.ts';

const block = (text: string, tag = 'sh'): string => `\`\`\`${tag}\n${text}\n\`\`\``;
const scriptOf = (script: string) => parse({ script }).runbook.script;

describe('the interpreter', () => {
  it.each([
    ['#!/bin/sh', ['/bin/sh']],
    ['#! /bin/zsh', ['/bin/zsh']],
    ['#!\t/bin/zsh ', ['/bin/zsh']],
    ['#!/bin/bash -eu', ['/bin/bash', '-eu']],
    ['#!/usr/bin/env python3', ['/usr/bin/env', 'python3']],
    ['#!/usr/bin/env -S python3 -u', ['/usr/bin/env', '-S python3 -u']],
    ['#!/bin/sh\t-e  -u ', ['/bin/sh', '-e  -u']],
  ])('is told by %j', (shebang, interpreter) => {
    const found = parse({ script: block(`${shebang}\necho`) });
    expect(found.diagnostics).toEqual([]);
    expect(found.runbook.script).toMatchObject({
      interpreter,
      hasShebang: true,
      text: `${shebang}\necho\n`,
    });
  });

  it('is told by the shebang whatever the tag says', () => {
    expect(scriptOf(block('#!/usr/bin/perl\nprint 1;'))?.interpreter).toEqual(['/usr/bin/perl']);
  });

  it.each([
    ['sh', '/bin/sh'],
    ['SH', '/bin/sh'],
    ['shell', '/bin/sh'],
    ['bash', 'bash'],
    ['zsh', 'zsh'],
  ])('is told by the tag %s where there is no shebang, with a warning', (tag, interpreter) => {
    const found = parse({ script: block('echo hello', tag) });
    expect(rules(found)).toEqual(['warning script/no-shebang']);
    expect(found.diagnostics[0]?.message).toContain(interpreter);
    expect(found.runbook.script).toMatchObject({ interpreter: [interpreter], hasShebang: false });
  });

  it.each(['# !/bin/sh', '#!', '#!\n/bin/sh', '\\#!/bin/sh', 'echo #!/bin/sh'])(
    'is not told by %j',
    (line) => {
      expect(rules(parse({ script: block(`${line}\necho`) }))).toEqual(['warning script/no-shebang']);
    },
  );
});

describe('the block', () => {
  it('is the first one with the tag of a shell, else the first with a shebang', () => {
    const text = block('text', '');
    const python = block('#!/usr/bin/env python3', 'python');
    const shell = block('#!/bin/sh', 'bash');
    expect(scriptOf(`${text}\n${python}\n${shell}`)?.text).toBe('#!/bin/sh\n');
    expect(scriptOf(`${text}\n${python}`)?.text).toBe('#!/usr/bin/env python3\n');
    expect(scriptOf(`${text}\n${block('#!/bin/sh', '')}`)?.text).toBe('#!/bin/sh\n');
  });

  it('is the only one; others are pointed out', () => {
    const source = documentOf({
      script: `${block('#!/bin/sh')}\n\n${block('more')}\n\n${block('hello', 'text')}`,
    });
    const found = parseRunbook(source);
    expect(rules(found)).toEqual(['warning script/second-block', 'warning script/second-block']);
    expect(found.diagnostics.map(({ place }) => place?.line)).toEqual([17, 21]);
  });

  it.each([
    ['nothing', ''],
    ['text', 'echo hello'],
    ['an untagged block', block('echo hello', '')],
    ['a block of another tag', block('print(1)', 'python')],
    ['an empty block', block('')],
    ['a block of blanks', block('\n  \n\t')],
  ])('is missing where the section holds %s', (_, script) => {
    const found = parse({ script });
    expect(rules(found)).toEqual(['error script/missing']);
    expect(found.runbook.script).toBeUndefined();
  });
});

describe('the text', () => {
  it.each([
    ['blanks at the ends of lines', '#!/bin/sh\necho a  \n\techo b\t'],
    ['blank lines inside and at the end', '#!/bin/sh\n\n\necho\n\n'],
    ['shorter fences', '#!/bin/sh\ncat <<E\n``\n~~~\nE'],
    ['markdown', '#!/bin/sh\n# A\n> b\n- c\n[d]: e\n<!--\n***'],
    ['backslashes and entities', "#!/bin/sh\nprintf '\\\\n &amp; &#65;'"],
    ['what is beyond ASCII', '#!/bin/sh\necho "Ä 日本 👩‍💻 \u2028 \u00A0"'],
  ])('is passed on as it stands, with %s', (_, text) => {
    expect(scriptOf(block(text))?.text).toBe(`${text}\n`);
  });

  it('loses the blank lines before its shebang, and no others', () => {
    const source = documentOf({ script: block('\n  \n#!/bin/sh\n\necho') });
    const { runbook, diagnostics } = parseRunbook(source);
    expect(diagnostics).toEqual([]);
    expect(runbook.script?.text).toBe('#!/bin/sh\n\necho\n');
    expect(source.split('\n')[runbook.script!.line - 1]).toBe('#!/bin/sh');
    expect(scriptOf(block('\n\necho'))?.text).toBe('\n\necho\n');
  });

  it('loses the indentation of its fence, as CommonMark says', () => {
    const indented = '   ```sh\n   #!/bin/sh\n     echo two more\n  echo one less\n\n\techo tab\n   ```';
    expect(scriptOf(indented)?.text).toBe('#!/bin/sh\n  echo two more\necho one less\n\n echo tab\n');
  });

  it('loses the indentation of a list, and the marks of a quote', () => {
    expect(scriptOf('1. Run:\n\n   ```sh\n   #!/bin/sh\n     echo\n   ```')?.text).toBe(
      '#!/bin/sh\n  echo\n',
    );
    expect(scriptOf('> ```sh\n> #!/bin/sh\n>   echo\n> ```')?.text).toBe('#!/bin/sh\n  echo\n');
  });

  it('has LF at the end of its lines, whatever the document has', () => {
    const text = documentOf({ script: block('#!/bin/sh -e\n\necho a\ncat <<E\nb\nE') });
    const expected = '#!/bin/sh -e\n\necho a\ncat <<E\nb\nE\n';
    for (const end of ['\n', '\r\n', '\r']) {
      const { script } = parseRunbook(text.replaceAll('\n', end)).runbook;
      expect(script).toMatchObject({ text: expected, interpreter: ['/bin/sh', '-e'] });
    }
  });

  it('keeps a CR that ends no line', () => {
    expect(scriptOf(block("#!/bin/sh\nprintf 'a\rb'"))?.text).toBe("#!/bin/sh\nprintf 'a\rb'\n");
  });

  it('knows its place and its first line', () => {
    const source = documentOf({
      script: `Text.\n\n  ${block('\n#!/bin/sh\necho').replaceAll('\n', '\n  ')}`,
    });
    const { script } = parseRunbook(source).runbook;
    const lines = source.split('\n');
    expect(lines[script!.line - 1]).toBe('  #!/bin/sh');
    expect(lines[script!.place.line - 1]).toBe('  ```sh');
    expect(lines[script!.place.endLine - 1]).toBe('  ```');
    const unclosed = parseRunbook('# X\n# Script\n```sh\n#!/bin/sh').runbook.script;
    expect(unclosed).toMatchObject({ line: 4, text: '#!/bin/sh\n' });
  });

  it('may be indented code with a shebang', () => {
    const source = documentOf({ script: '    #!/bin/sh\n    echo' });
    const { script } = parseRunbook(source).runbook;
    expect(script?.text).toBe('#!/bin/sh\necho\n');
    expect(source.split('\n')[script!.line - 1]).toBe('    #!/bin/sh');
  });

  it('has findings at its block', () => {
    const source = documentOf({ script: `Text.\n\n${block('echo')}` });
    const found = parseRunbook(source);
    expect(textAt(source, found.diagnostics[0])).toBe('```sh');
  });
});
