import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';

/**
 * SHA-256 as hex digits. Not Node's own: loading `node:crypto` takes longer than hashing a document does, and a
 * run of a short script takes hardly longer than that.
 */
export function sha256Hex(data: Uint8Array | string): string {
  return bytesToHex(sha256(typeof data === 'string' ? Buffer.from(data) : data));
}
