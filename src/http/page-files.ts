import packed from '#page' with { type: 'json' };
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { sha256Hex } from '../digest.ts';

/** A file of the page, as it is sent. */
export interface PageFile {
  readonly type: string;
  readonly etag: string;
  readonly gzip: Buffer;
  readonly plain: Buffer;
}

const types = new Map([
  ['.html', 'text/html; charset=utf-8'],
  ['.js', 'text/javascript; charset=utf-8'],
  ['.css', 'text/css; charset=utf-8'],
  ['.svg', 'image/svg+xml'],
]);

/** What the build has made of web/, by names such as `index.html` and `assets/main-Xy12.js`. */
export const pageFiles: ReadonlyMap<string, PageFile> = new Map(
  packed.map(({ name, gzip: base64 }) => {
    const type = types.get(path.extname(name)) ?? 'application/octet-stream';
    const gzip = Buffer.from(base64, 'base64');
    const plain = gunzipSync(gzip);
    return [name, { type, etag: `"${sha256Hex(plain).slice(0, 32)}"`, gzip, plain }];
  }),
);
