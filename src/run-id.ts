import { closeSync, openSync, readSync } from 'node:fs';

/** A UUIDv7: sorts by time. @see RFC 9562, section 5.7 */
export function newRunId(): string {
  const bytes = randomBytes();
  bytes.writeUIntBE(Date.now(), 0, 6);
  bytes[6] = 0x70 | (bytes[6]! & 0x0f);
  bytes[8] = 0x80 | (bytes[8]! & 0x3f);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}

/** 16 of them, from the kernel: loading `node:crypto` for this would cost more than all else here. */
function randomBytes(): Buffer {
  const bytes = Buffer.alloc(16);
  const source = openSync('/dev/urandom', 'r');
  try {
    readSync(source, bytes, 0, bytes.length, null);
  } finally {
    closeSync(source);
  }
  return bytes;
}
