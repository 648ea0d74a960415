/** Whether a value is not replaced: shorter than 4 characters, or blank, it stands in any text by chance. */
export function isTooShort(value: string): boolean {
  return value.trim() === '' || (value.length < 8 && Array.from(value).length < 4);
}
