import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startApp, type TestApp } from './app.ts';

let server: TestApp;
beforeAll(async () => {
  server = await startApp();
});
afterAll(() => server[Symbol.asyncDispose]());

const PAGES = ['/', '/runbooks/SimpleRunbook.md', '/runs', '/runs/1', '/admin', '/sign-in'];
const FIRST_LOAD_BYTES = 60_000;

/** The addresses of what the document loads. */
async function assets(): Promise<string[]> {
  const { body } = await server.app.inject('/');
  return Array.from(body.matchAll(/(?:src|href)="(\/assets\/[^"]+)"/g), ([, url]) => url!);
}

describe('the page', () => {
  it('is the same at each of its addresses, for everybody', async () => {
    const { body } = await server.app.inject('/');
    expect(body).toContain('<div id="page">');
    for (const url of PAGES) {
      const answer = await server.app.inject(url);
      expect(answer.statusCode, url).toBe(200);
      expect(answer.headers['content-type'], url).toBe('text/html; charset=utf-8');
      expect(answer.body, url).toBe(body);
    }
  });

  it('has a policy that lets in no script and no style but those of this server, and none that stands inside', async () => {
    const { headers, body } = await server.app.inject('/');
    const policy = String(headers['content-security-policy']);
    expect(policy).toContain("default-src 'none'");
    for (const kind of ['script-src', 'style-src', 'connect-src']) expect(policy).toContain(`${kind} 'self'`);
    expect(policy).not.toMatch(/unsafe|https?:|\*/);
    expect(body).not.toMatch(/<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)/i);
  });

  it('is asked about each time, and sent only where it has changed', async () => {
    const first = await server.app.inject('/');
    expect(first.headers['cache-control']).toBe('no-cache');
    const etag = String(first.headers['etag']);
    const again = await server.app.inject({ url: '/', headers: { 'if-none-match': `"other", W/${etag}` } });
    expect([again.statusCode, again.body]).toEqual([304, '']);
    const changed = await server.app.inject({ url: '/', headers: { 'if-none-match': '"other"' } });
    expect(changed.statusCode).toBe(200);
  });

  it('loads what has its hash in its name, for ever', async () => {
    const urls = await assets();
    expect(urls.map((url) => url.split('.').at(-1)!).toSorted()).toEqual(['css', 'js', 'svg']);
    for (const url of urls) {
      const answer = await server.app.inject(url);
      expect(answer.statusCode, url).toBe(200);
      expect(answer.headers['cache-control'], url).toBe('public, max-age=31536000, immutable');
      expect(answer.headers['x-content-type-options'], url).toBe('nosniff');
    }
  });

  it.each(['gzip', 'br;q=1, gzip;q=0.5', 'deflate, GZIP'])(
    'is compressed for who takes %s',
    async (accepted) => {
      const plain = await server.app.inject('/');
      const answer = await server.app.inject({ url: '/', headers: { 'accept-encoding': accepted } });
      expect(answer.headers['content-encoding']).toBe('gzip');
      expect(answer.headers['vary']).toContain('Accept-Encoding');
      expect(gunzipSync(answer.rawPayload).toString()).toBe(plain.body);
    },
  );

  it.each(['', 'br', 'gzip;q=0', 'identity', 'x-gzipped'])(
    'is as it is for who takes "%s"',
    async (accepted) => {
      const answer = await server.app.inject({ url: '/', headers: { 'accept-encoding': accepted } });
      expect(answer.headers['content-encoding']).toBeUndefined();
      expect(answer.body).toContain('<div id="page">');
    },
  );

  it('is at most 60 kB when it is loaded first', async () => {
    const headers = { 'accept-encoding': 'gzip' };
    let bytes = 0;
    for (const url of ['/', ...(await assets())]) {
      bytes += (await server.app.inject({ url, headers })).rawPayload.length;
    }
    expect(bytes).toBeGreaterThan(5000);
    expect(bytes).toBeLessThanOrEqual(FIRST_LOAD_BYTES);
  });

  it('has nothing else', async () => {
    for (const url of [
      '/assets/none.js',
      '/assets/..%2Findex.html',
      '/index.html',
      '/runs/1/2',
      '/admin/x',
    ]) {
      const answer = await server.app.inject(url);
      expect(answer.statusCode, url).toBe(404);
      expect(answer.json(), url).toMatchObject({ success: false, code: 'not_found' });
    }
    const posted = await server.app.inject({ method: 'POST', url: '/' });
    expect([posted.statusCode, posted.headers.allow]).toEqual([405, expect.stringContaining('GET')]);
  });
});
