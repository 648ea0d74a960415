/**
 * Finds lines that may be the History heading, in bytes, without understanding markdown. Whether one really
 * is (and does not stand in a code block) only the parser can say; what this misses, such as a heading that is
 * written with character references, the parser finds when it has read the whole text.
 *
 * @param bytes the beginning of a document
 * @returns for each candidate the offset just behind its line or lines, ascending
 */
export function historyCandidates(bytes: Uint8Array): number[] {
  // One character a byte, so that offsets are offsets into the bytes.
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
  const ends: number[] = [];
  for (const match of text.matchAll(CANDIDATE)) ends.push(match.index + match[0].length);
  return ends;
}

const CANDIDATE =
  /^ {0,3}(?:#[ \t]+[^\r\n]{0,200}history[^\r\n]{0,200}(?:\r\n|\r|\n|(?![^]))|[^\r\n]{0,200}history[^\r\n]{0,200}(?:\r\n|\r|\n) {0,3}=+[ \t]*(?:\r\n|\r|\n|(?![^])))/gim;

/** Lines below History that would be one of our sections if they stood at the document's top level. */
export const SECTION_LINE =
  /^ {0,3}(?:#[ \t]+(environment requirements|file system requirements|required claims|execution|script|history)(?:[ \t]+#+)?[ \t]*$|(environment requirements|file system requirements|required claims|execution|script|history)[ \t]*(?:\r\n|\r|\n) {0,3}=+[ \t]*$)/im;
