import { expect, it } from 'vitest';
import { sample, typeErrors } from './rig.ts';

interface Panel {
  readonly type: string;
  readonly options?: object;
  readonly fieldConfig?: { readonly defaults: { readonly custom?: object } };
}

const text = await sample('grafana', 'dashboard.json');
const { panels, templating } = JSON.parse(text) as {
  readonly panels: readonly Panel[];
  readonly templating: { readonly list: readonly { readonly name: string }[] };
};

// What queries find is in prometheus.test.ts.
it("the dashboard is what Grafana's own types say", async () => {
  expect(await typeErrors('dashboard', checked(text))).toBe('');
  // And they would say so if it were not.
  const wrong = checked(text.replace('"gridPos"', '"gridpos"').replace('"never"', '"seldom"'));
  expect(await typeErrors('wrong-dashboard', wrong)).toMatch(/gridpos[^]*seldom/);
});

it('the dashboard lets one choose the data source, METRICS_PREFIX and the instances', () => {
  expect(templating.list.map(({ name }) => name)).toEqual(['datasource', 'prefix', 'instance']);
  const shown = panels.filter(({ type }) => type !== 'row');
  expect(shown.length).toBeGreaterThan(15);
  for (const panel of shown) expect(JSON.stringify(panel)).toContain('"uid":"${datasource}"');
});

/** JSON has no enumerations: their values stand there as the texts that they are. */
function checked(dashboard: string): string {
  const kinds = new Set(['timeseries', 'stat']);
  const module = '@grafana/schema/dist/esm/raw/composable';
  const parts = (JSON.parse(dashboard) as { panels: readonly Panel[] }).panels.flatMap(
    ({ type, options, fieldConfig }) => [
      ...(type === 'row' || kinds.has(type) ? [] : [`const unknown: never = '${type}';`]),
      ...(options ? [`(${JSON.stringify(options)}) satisfies Plain<${type}.Options>;`] : []),
      ...(fieldConfig?.defaults.custom
        ? [`(${JSON.stringify(fieldConfig.defaults.custom)}) satisfies Plain<${type}.FieldConfig>;`]
        : []),
    ],
  );
  return [
    `import type { Dashboard } from '@grafana/schema';`,
    `import type * as timeseries from '${module}/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';`,
    `import type * as stat from '${module}/stat/panelcfg/x/StatPanelCfg_types.gen';`,
    'type Plain<T> = T extends string ? `${T}` : T extends readonly (infer U)[] ? Plain<U>[]',
    '  : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;',
    `export const dashboard: Plain<Dashboard> = ${dashboard};`,
    ...parts,
  ].join('\n');
}
