import type { Diagnostic } from './diagnostic.ts';
import { describe } from './environment.ts';
import type { ClaimRequirement } from './model.ts';
import type { YamlValue } from './yaml.ts';

/**
 * Reads the mapping of the `Required Claims` section. Whatever cannot be understood is an error, and then
 * nobody may execute the runbook: a typing mistake never opens a door.
 */
export function readClaims(value: YamlValue): { claims: ClaimRequirement[]; diagnostics: Diagnostic[] } {
  const diagnostics: Diagnostic[] = [];
  const invalid = (at: YamlValue, expected: string): void => {
    const message = `Expected ${expected}, found ${describe(at)}; until this is mended nobody may execute the runbook`;
    diagnostics.push({ rule: 'claims/invalid', severity: 'error', message, place: at.place });
  };
  if (value.kind !== 'map' || value.entries.length === 0) {
    invalid(value, 'a mapping such as `roles: developer, admin`');
    return { claims: [], diagnostics };
  }
  const claims = value.entries.map((entry): ClaimRequirement => {
    const name = entry.key.trim();
    const values = valuesOf(entry.value);
    if (values === undefined || name === '') {
      invalid(entry.value, `\`${name}\` to have one value or a list of values`);
    }
    return { name, values: values ?? [] };
  });
  return { claims, diagnostics };
}

function valuesOf(value: YamlValue): string[] | undefined {
  const items = value.kind === 'list' ? value.items : [value];
  const texts = items.flatMap((item) => (item.kind === 'scalar' ? item.text.split(',') : [undefined]));
  const trimmed = texts
    .flatMap((text) => (text === undefined ? [] : [text.trim()]))
    .filter((text) => text !== '');
  return trimmed.length > 0 && !texts.includes(undefined) ? trimmed : undefined;
}
