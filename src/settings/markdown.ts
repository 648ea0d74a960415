import { preferenceKeyOf, type SettingName, settingNames, settingOf } from './table.ts';

/** The text of docs/settings.md, from the table. */
export function settingsMarkdown(): string {
  return `${introduction}\n${settingNames.map(section).join('\n')}`;
}

const introduction = `# Settings

<!-- Made from src/settings/table.ts; \`npm run docs\` writes it anew. -->

A setting is taken from the first of these that has it: the command line's option, the environment, your preferences (\`runbook config set <key> <value>\`), the default. A variable that is set to the empty text counts as not set. A command reads and checks only the settings that it uses; \`runbook config list\` shows their values and where each comes from.

Before all of these comes \`/etc/runbook/settings\`, where it is there ([auth.md](auth.md#what-a-machine-fixes)): what it sets, nobody who starts the program can change. Settings that decide who may are marked below: as soon as that file sets one of them, all of them come from it or have their default.

Some settings have other names. Two names of one setting with different values are an error. A secret is never shown, is never a preference, and can be given as a file: \`JWT_SECRET_FILE=/run/secrets/jwt\` reads the secret from there, without the newline at its end. Giving both the secret and the file is an error.

Settings are not handed to scripts. A document may declare a variable of the same name, save the names of secrets.
`;

function section(name: SettingName): string {
  const { kind, default: otherwise, defaultIs, aliases = [], secret, decidesWhoMay, what } = settingOf(name);
  const key = preferenceKeyOf(name);
  const fallback =
    defaultIs ?? (typeof otherwise === 'string' && otherwise !== '' ? `\`${otherwise}\`` : 'none');
  const others = [...aliases, ...(secret ? [name, ...aliases].map((each) => `${each}_FILE`) : [])];
  return [
    `## ${name}\n`,
    `${what}.\n`,
    `- Value: ${kind.allowed}${secret ? ' (secret)' : ''}`,
    `- Default: ${fallback}`,
    ...(others.length > 0 ? [`- Other names: ${others.map((each) => `\`${each}\``).join(', ')}`] : []),
    ...(key === undefined ? [] : [`- Preference: \`${key}\``]),
    ...(decidesWhoMay ? ['- Decides who may'] : []),
    '',
  ].join('\n');
}
