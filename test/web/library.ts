import { makeFolder, writeRunbook, type Folder } from '../e2e/rig.ts';

/** A folder with runbooks such as people have. */
export async function makeLibrary(): Promise<Folder> {
  const folder = await makeFolder();
  await writeRunbook(folder, 'Greet', {
    description: 'Says hello to somebody, and **how many** times.\n\n- first\n- second',
    environment: [
      'WHO: Whom to greet',
      'TIMES: { description: How often, default: "1", pattern: "[1-9]\\\\d?" }',
      'MOOD: { description: How it is meant, required: false, enum: [kindly, coldly] }',
      'API_TOKEN: A secret; the script says how long it is',
    ].join('\n'),
    script: 'for i in $(seq $TIMES); do echo "Hello $WHO"; done\necho "${#API_TOKEN} characters" >&2\n',
  });
  await writeRunbook(folder, 'Deploy', {
    description: 'Brings a version to production.',
    claims: 'roles: sre, admin\nteam: [platform]',
    script: 'echo deployed',
  });
  await writeRunbook(folder, 'DropDatabase', {
    description: 'Throws the staging database away.',
    environment: 'NAME: Which one\nDB_PASSWORD: Of its owner',
    execution: 'confirm: This drops a database for good',
    script: 'echo "dropped $NAME"',
  });
  await writeRunbook(folder, 'Fail', {
    description: 'Ends with an exit code.',
    script: 'echo before\necho "it went wrong" >&2\nexit 3',
  });
  await writeRunbook(folder, 'Colours', {
    description: 'Writes in colours, and what terminals obey.',
    script: [
      String.raw`printf 'plain \033[31mred\033[0m \033[1;32mbold green\033[0m \033[38;5;208morange\033[0m \033[7minverse\033[0m\n'`,
      String.raw`printf 'warning: \033[33mdisk is 91%% full\033[0m\n' >&2`,
      String.raw`printf '\033[4munderlined\033[24m \033[44mon blue\033[0m \033[9mgone\033[0m\n'`,
    ].join('\n'),
  });
  return folder;
}
