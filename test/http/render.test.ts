import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { renderMarkdown } from '../../src/http/render.ts';
import { tokenWith } from '../auth/material.ts';
import { startApp } from './app.ts';

/** All that may ever be in what is rendered: these tags, with these attributes. */
const harmless = new RegExp(
  [
    String.raw`</?(?:h[1-6]|p|blockquote|hr|br|ul|ol|li|pre|code|em|strong|del|a|sup|table|thead|tbody|tr|th|td)>`,
    String.raw`<a href="(?:https?://|mailto:)[^"<>]*" rel="noreferrer noopener">`,
    String.raw`<code class="(?:language-[\w+#.-]{1,40})?">`,
    String.raw`<ol start="\d+">`,
    String.raw`<t[dh] align="(?:left|center|right)">`,
    String.raw`<input type="checkbox"(?: checked)? disabled>`,
  ].join('|'),
  'gi',
);

function tagsBesides(html: string): string {
  const rest = html.replaceAll(harmless, '');
  return rest.includes('<') ? rest : '';
}

describe('a document', () => {
  it('is rendered as what its markdown means', () => {
    const html = renderMarkdown(
      '# Deploy\n\nA *short* **text**, ~~old~~, `code`.\n\n- [x] one\n- [ ] two\n\n3. three\n\n|a|b|\n|:-|-|\n|1|2|\n\n```sh\necho "<hi>"\n```\n\n> quote\n\nhttps://example.com <a@b.example> [text](https://x.example/?a=1&b=2 "title")\n',
    );
    expect(html).toBe(`<h1>Deploy</h1>
<p>A <em>short</em> <strong>text</strong>, <del>old</del>, <code>code</code>.</p>
<ul>
<li><input type="checkbox" checked disabled> one</li>
<li><input type="checkbox" disabled> two</li>
</ul>
<ol start="3">
<li>three</li>
</ol>
<table>
<thead>
<tr>
<th align="left">a</th>
<th>b</th>
</tr>
</thead>
<tbody>
<tr>
<td align="left">1</td>
<td>2</td>
</tr>
</tbody>
</table>
<pre><code class="language-sh">echo "&#x3C;hi>"
</code></pre>
<blockquote>
<p>quote</p>
</blockquote>
<p><a href="https://example.com" rel="noreferrer noopener">https://example.com</a> <a href="mailto:a@b.example" rel="noreferrer noopener">a@b.example</a> <a href="https://x.example/?a=1&#x26;b=2" rel="noreferrer noopener">text</a></p>`);
  });

  it.each([
    ['a script', '<script>alert(1)</script>'],
    ['a script in a paragraph', 'a <script>alert(1)</script> b'],
    ['an image that fails', '<img src=x onerror=alert(1)>'],
    ['a style', '<style>body{display:none}</style>\n\n<p style="position:fixed">x</p>'],
    ['an id', '<h1 id="app">x</h1>\n\n# app {#id}\n\n<form id=x><input name=y></form>'],
    ['a frame', '<iframe src="https://evil.example"></iframe>'],
    ['SVG', '<svg onload=alert(1)><a xlink:href="javascript:alert(1)">x</a></svg>'],
    ['HTML that is not closed', '<div><b onmouseover="alert(1)">'],
    ['HTML in a table', '|a|\n|-|\n|<script>alert(1)</script>|'],
    ['HTML in a heading', '# <img src=x onerror=alert(1)>'],
    ['HTML in the tag of code', '```"><script>alert(1)</script>\nx\n```'],
    ['a base', '<base href="https://evil.example/">'],
    ['a meta', '<meta http-equiv="refresh" content="0;url=https://evil.example">'],
  ])('with %s shows it as text', (_, markdown) => {
    const html = renderMarkdown(markdown)!;
    expect(tagsBesides(html)).toBe('');
  });

  it.each([
    '[x](javascript:alert(1))',
    '[x](JaVaScRiPt:alert(1))',
    '[x](java\u0000script:alert(1))',
    '[x](&#106;avascript:alert(1))',
    '[x](<java\tscript:alert(1)>)',
    '[x](\u0001javascript:alert(1))',
    '[x](data:text/html;base64,PHNjcmlwdD4=)',
    '[x](vbscript:x)',
    '[x](file:///etc/passwd)',
    '[x](blob:https://x/y)',
    '[x](//evil.example)',
    '[x](/auth/logout)',
    '[x](\\\\evil.example)',
    '[x](Other.md)',
    '[x](#top)',
    '[x](https:evil)',
    '<javascript:alert(1)>',
    '[x][y]\n\n[y]: javascript:alert(1)',
    '![x](javascript:alert(1))',
  ])('with the link %j does not lead there', (markdown) => {
    const html = renderMarkdown(markdown)!;
    expect(html).not.toContain('<a');
    expect(tagsBesides(html)).toBe('');
  });

  it('loads no image: it is a link, or its words', () => {
    expect(renderMarkdown('![a chart](https://elsewhere.example/pixel.png "t")')).toBe(
      '<p><a href="https://elsewhere.example/pixel.png" rel="noreferrer noopener">a chart</a></p>',
    );
    expect(renderMarkdown('![a chart](chart.png)')).toBe('<p>a chart</p>');
    expect(renderMarkdown('![chart][c]\n\n[c]: data:image/png;base64,AAAA')).toBe('<p>chart</p>');
  });

  it('shows characters that turn or hide text by their numbers, in code above all', () => {
    const html = renderMarkdown(
      '# a\u202Eb\n\n`x\u2066y\u200Bz`\n\n```sh\nrm \u202E# /\n\u001B[31mred\u0007\n```\n',
    )!;
    expect(html).toContain('<h1>a⟨U+202E⟩b</h1>');
    expect(html).toContain('<code>x⟨U+2066⟩y⟨U+200B⟩z</code>');
    expect(html).toContain('rm ⟨U+202E⟩# /\n⟨U+001B⟩[31mred⟨U+0007⟩\n');
    expect(renderMarkdown('&#x202E;&rlm;')).toBe('<p>⟨U+202E⟩⟨U+200F⟩</p>');
  });

  it('leaves out comments, and shows words in angle brackets', () => {
    expect(renderMarkdown('Use <name> <!-- hidden -->here\n\n<!-- hidden -->\n')).toBe(
      '<p>Use &#x3C;name> here</p>\n',
    );
  });

  it('can be nothing but harmless, whatever stands in it', () => {
    const pieces = fc.constantFrom(
      ...[
        '<',
        '>',
        '"',
        "'",
        '`',
        '[',
        '](',
        ')',
        '!',
        '*',
        '_',
        '\n',
        '\n\n',
        '|',
        '-',
        '# ',
        '&',
        ';',
        ':',
        '/',
      ],
      ...[
        'javascript:',
        'alert(1)',
        'onerror=',
        '<img ',
        '<script>',
        '</script>',
        '<!--',
        '-->',
        'style=',
        'id=',
      ],
      ...[
        'http://',
        '&#60;',
        '&lt;',
        '\u202E',
        '```',
        '[^1]',
        '[^1]: ',
        '<![CDATA[',
        '<?',
        '    ',
        '> ',
        '1. ',
      ],
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 40 }), (parts) => {
        expect(tagsBesides(renderMarkdown(parts.join('')) ?? '')).toBe('');
      }),
      { numRuns: 3000 },
    );
  });

  it.each([
    ['128 KiB and more', 'a'.repeat(128 * 1024 + 1)],
    ['lines without end', '1.\n'.repeat(5001)],
    ['quotes in quotes', '> '.repeat(200)],
  ])('of %s is not rendered at all', (_, markdown) => expect(renderMarkdown(markdown)).toBeUndefined());

  it.each(['*_', '[', '![', '[a](', '`', '<!--', '**a', '|-\n', '&', 'a@', 'www.a', '[^', '_a__'])(
    'of nothing but %j does not take the server from others',
    (piece) => {
      // Without bounds some of these take minutes.
      const markdown = piece.repeat(Math.floor((64 * 1024) / piece.length));
      const startedMs = performance.now();
      renderMarkdown(markdown);
      expect(performance.now() - startedMs).toBeLessThan(10_000);
    },
  );
});

describe('over HTTP', () => {
  it('the part above History is rendered for everybody, and nothing below it', async () => {
    const documents = await mkdtemp(path.join(os.tmpdir(), 'runbook-render-'));
    const claims = '# Required Claims\n```yaml\nroles: sre\n```\n';
    const markdown = `# Tidy\nUp <b>now</b>.\n\n${claims}\n# Script\n\`\`\`sh\necho hi\n\`\`\`\n\n# History\n\nsecret *history*\n`;
    await writeFile(path.join(documents, 'Tidy.md'), markdown);
    await using server = await startApp({}, { documents });
    await rm(documents, { recursive: true });
    for (const [roles, isHidden] of [
      [['sre'], false],
      [[], true],
    ] as const) {
      const headers = { authorization: `Bearer ${await tokenWith({ roles })}` };
      const url = '/api/runbooks/Tidy.md';
      const plain = (await server.app.inject({ url, headers })).json();
      expect(plain).not.toHaveProperty('html');
      const answer = (await server.app.inject({ url: `${url}?render=html`, headers })).json();
      expect(answer.html).toContain('<h1>Tidy</h1>\n<p>Up &#x3C;b>now&#x3C;/b>.</p>');
      expect(answer.html).toContain('<code class="language-sh">echo hi');
      expect(answer.html).not.toContain('history');
      expect(answer).toEqual({ ...plain, html: answer.html });
      expect(answer.history_hidden).toBe(isHidden);
      const other = await server.app.inject({ url: `${url}?render=pdf`, headers });
      expect(other.statusCode).toBe(400);
    }
  });
});
