// Which files of the host a script sees in the bubblewrap sandbox, tried from inside.
import { chmod, chown, mkdir, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { SignJWT } from 'jose';
import { describe, expect, it } from 'vitest';
import { needs } from '../require.ts';
import { inMountNamespace, runbook, writeRunbook } from './rig.ts';
import { arena, attack, attackers, inNode, makeOutside, startAttack } from './sandbox-rig.ts';

/** Writes a file that both attackers may read, with all its folders. */
async function place(file: string, text = 'PRIVATE\n', mode = 0o644): Promise<string> {
  await mkdir(path.dirname(file), { recursive: true });
  await writeFile(file, text, { mode });
  await chmod(file, mode);
  return file;
}

/** A script that tries to read files, and by some ways around; it prints those that it could. */
function reading(files: readonly string[]): string {
  return inNode(`
    const fs = require('node:fs');
    const tried = ${JSON.stringify(files)}.flatMap((file) => [file, '/proc/self/root' + file, '/proc/1/root' + file, '/proc/1/cwd/../../../../../..' + file]);
    for (const file of tried) try { if (fs.readFileSync(file, 'latin1').length > 0) console.log('read', file); } catch {}
    console.log('end');
  `);
}

describe.for(attackers.map((attacker) => [attacker.who, attacker] as const))('%s', ([, attacker]) => {
  it("reads no file of the runner's: tokens, env files, secrets in files, state, preferences", async (context) => {
    const folder = await arena(context, attacker);
    const outside = await makeOutside(context);
    const secret = 'uiSh0ohgheth9eiBae3boo4Ohth7Aig4';
    const token = await new SignJWT({ sub: 'alice', iss: 'dev-idp', aud: 'dev-api' })
      .setProtectedHeader({ alg: 'HS256' })
      .setExpirationTime('1h')
      .sign(Buffer.from(secret));
    const [state, volume] = [path.join(outside, 'state'), path.join(outside, 'volume')];
    const envFile = await place(path.join(outside, 'values.env'), 'NAME=value\n');
    const own = [
      envFile,
      await place(path.join(outside, 'token'), token),
      // As Kubernetes lays a secret out, so that all of it can be replaced at once.
      await place(path.join(volume, '..2024_01', 'secret'), secret),
      await place(path.join(state, 'runs', 'one.json')),
      await place(path.join(outside, 'cache', 'runbook', 'model')),
    ];
    await place(path.join(volume, '..2024_02', 'secret'), 'the next one');
    await symlink('..2024_01', path.join(volume, '..data'));
    await symlink('..data/secret', path.join(volume, 'secret'));
    await symlink('token', path.join(outside, 'link'));
    for (const name of ['state', 'cache', 'cache/runbook']) await chmod(path.join(outside, name), 0o777);
    const attempt = {
      environment: 'NAME: a name',
      script: reading([
        ...own,
        ...['secret', '..data/secret', '..2024_02/secret'].map((name) => path.join(volume, name)),
        path.join(outside, 'link'),
      ]),
      args: ['--env-file', envFile],
      options: {
        env: {
          STATE_DIR: state,
          XDG_CACHE_HOME: path.join(outside, 'cache'),
          JWT_SECRET_FILE: path.join(volume, 'secret'),
          RUNBOOK_TOKEN_FILE: path.join(outside, 'link'),
        },
      },
    };
    const { stdout, stderr } = await attack(folder, attacker, attempt);
    expect(stdout, stderr).toBe('end\n');
    // What holds them may be declared; they stay hidden in it.
    const around = { ...attempt, execution: `read: [${outside}]` };
    expect((await attack(folder, attacker, around)).stdout).toBe('end\n');
  });

  it('never gives back what is the runner’s own, whatever a document declares', async (context) => {
    const folder = await arena(context, attacker);
    const outside = await makeOutside(context);
    const record = await place(path.join(outside, 'state', 'runs', 'one.json'));
    await chmod(path.join(outside, 'state'), 0o777);
    await place(path.join(folder.home, '.config', 'runbook', 'config.json'), '{}');
    await symlink(path.join(outside, 'state'), path.join(folder.home, 'link'));
    await symlink(record, path.join(folder.home, 'record'));
    const declared = [
      path.join(outside, 'state'),
      record,
      '~/link',
      '~/link/runs',
      '~/record',
      '~/.config/runbook',
      '~/.config/runbook/config.json',
      '~/',
      '~/.',
      '/proc',
      '/proc/1/environ',
      folder.temporary,
    ];
    const env = { STATE_DIR: path.join(outside, 'state') };
    await Promise.all(
      declared.map(async (entry) => {
        const given = { execution: `read: ["${entry}"]`, script: 'echo ran', options: { env } };
        const { exitCode, stdout, stderr } = await attack(folder, attacker, given);
        expect({ entry, exitCode, stdout }).toEqual({ entry, exitCode: 125, stdout: '' });
        expect(stderr).toMatch(/could not be started: .* is declared, /);
      }),
    );
  });

  it('sees what holds something of the runner’s without that', async (context) => {
    const folder = await arena(context, attacker);
    await place(path.join(folder.home, '.config', 'runbook', 'config.json'), '{}');
    await place(path.join(folder.home, '.config', 'tool', 'settings'), 'SETTINGS\n');
    const { stdout } = await attack(folder, attacker, {
      execution: 'read: [~/.config]',
      script:
        'cat ~/.config/tool/settings; cat ~/.config/runbook/config.json 2>/dev/null; ls ~/.config/runbook',
    });
    expect(stdout).toBe('SETTINGS\n');
  });

  it('reads no credentials that it did not declare', async (context) => {
    const folder = await arena(context, attacker);
    const outside = await makeOutside(context);
    const home = path.join(outside, 'home');
    const stores = ['.aws/credentials', '.kube/config', '.ssh/id_ed25519', '.netrc', '.bash_history'];
    const files = await Promise.all(stores.map((name) => place(path.join(home, name))));
    const elsewhere = await place(path.join(outside, 'elsewhere', 'config'));
    const { stdout, exitCode } = await attack(folder, attacker, {
      script: reading([
        ...files,
        elsewhere,
        '/etc/shadow',
        '/etc/gshadow',
        ...['.aws/credentials', '.ssh/authorized_keys', '.bashrc'].map((name) => `/root/${name}`),
      ]),
      options: { env: { HOME: home, KUBECONFIG: `/nowhere:${elsewhere}` } },
    });
    expect({ stdout, exitCode }).toEqual({ stdout: 'end\n', exitCode: 0 });
  });

  it('reads no credentials of its user where HOME says something else', async (context) => {
    needs(context, 'mount');
    const folder = await arena(context, attacker);
    const outside = await makeOutside(context);
    const secret = await place(path.join(outside, 'home', '.aws', 'credentials'));
    const lines = [`root:x:0:0::${outside}/home:/bin/sh`, `nobody:x:65534:65534::${outside}/home:/bin/sh`];
    await place(path.join(outside, 'passwd'), `${lines.join('\n')}\n`);
    for (const home of ['/', '/nowhere', folder.home]) {
      const { stdout, stderr } = await attack(folder, attacker, {
        script: `cat ${secret} 2>/dev/null; ls -A /root 2>/dev/null | grep -vE '^[.](cargo|pyenv|rustup|nvm)$'; echo end`,
        options: { env: { HOME: home } },
        around: (command) =>
          inMountNamespace(`mount --bind ${outside}/passwd /etc/passwd; exec "$@"`, ...command),
      });
      expect(stdout, stderr).toBe('end\n');
    }
  });

  it('finds what it declares under ~ in its own home, and cannot write to it', async (context) => {
    const folder = await arena(context, attacker);
    const config = await place(path.join(folder.home, '.kube', 'config'), 'CLUSTER\n', 0o666);
    await place(path.join(folder.home, '.kube', 'other'));
    await place(path.join(folder.home, '.aws', 'sso', 'cache'), 'CACHED\n');
    const { stdout } = await attack(folder, attacker, {
      execution: 'read: [~/.kube/config, ~/.aws/sso/, ~/.missing]',
      script: [
        'cat ~/.kube/config ~/.aws/sso/cache; ls ~/.kube; ls -A ~',
        '(echo x > ~/.kube/config) 2>/dev/null && echo wrote; (echo x > ~/.aws/sso/x) 2>/dev/null && echo wrote',
        'echo own > ~/.kube/own && cat ~/.kube/own',
        `cat ${config} 2>/dev/null`,
      ].join('\n'),
    });
    expect(stdout).toBe('CLUSTER\nCACHED\nconfig\n.aws\n.kube\nown\n');
  });

  it('sees a declared path that is hidden otherwise, and nothing beside it', async (context) => {
    const folder = await arena(context, attacker);
    const outside = await makeOutside(context);
    const home = path.join(outside, 'home');
    const store = await place(path.join(home, 'store', 'one'), 'ONE\n');
    await place(path.join(home, 'store', 'two'));
    await place(path.join(outside, 'hide', 'three'), 'THREE\n');
    await symlink(path.join(home, 'store'), path.join(home, 'link'));
    const { stdout } = await attack(folder, attacker, {
      execution: `read: ["${store}", "${home}/link/one", "${outside}/hide/three", /usr]`,
      script: `cat ${store} ${home}/link/one ${outside}/hide/three; ls ${home} ${home}/store`,
      options: { env: { HOME: home, SANDBOX_HIDE: `${outside}/hide` } },
    });
    expect(stdout).toBe(`ONE\nONE\nTHREE\n${home}:\nlink\nstore\n\n${home}/store:\none\n`);
  });

  it('keeps what is hidden in a declared folder hidden', async (context) => {
    const folder = await arena(context, attacker);
    const outside = await makeOutside(context);
    const secret = await place(path.join(outside, 'a', 'b', 'secret'));
    await place(path.join(outside, 'a', 'open'), 'OPEN\n');
    const { stdout } = await attack(folder, attacker, {
      execution: `read: [${outside}, /etc]`,
      script: `cat ${outside}/a/open; cat ${secret} /etc/shadow 2>/dev/null`,
      options: { env: { SANDBOX_HIDE: `${outside}/a/b` } },
    });
    expect(stdout).toBe('OPEN\n');
  });

  it('sees nothing hidden at another place where it is mounted', async (context) => {
    needs(context, 'mount');
    const folder = await arena(context, attacker);
    const outside = await makeOutside(context);
    await place(path.join(outside, 'home', 'secret'));
    await mkdir(path.join(outside, 'alias'));
    const file = await writeRunbook(folder, 'Attack', {
      script: reading([`${outside}/home/secret`, `${outside}/alias/home/secret`, `${outside}/alias/x`]),
    });
    await writeFile(path.join(outside, 'x'), 'X');
    const { stdout, stderr } = await runbook(folder, ['execute', file, '--no-history'], {
      env: { SANDBOX: 'required', HOME: path.join(outside, 'home') },
      through: (command) =>
        inMountNamespace(`mount --bind ${outside} ${outside}/alias; exec "$@"`, ...attacker.through(command)),
    });
    expect(stdout, stderr).toMatch(/\/alias\/x\n(?:.*\n)*end\n$/);
    expect(stdout).not.toContain('secret');
  });

  it.for(['the temporary folder', 'a folder of its own', 'the home', '/var/tmp', '/dev/shm'])(
    'sees no workspace of another run, in %s',
    async (where, context) => {
      const folder = await arena(context, attacker);
      const outside = await makeOutside(context);
      const places: Record<string, string> = {
        'the temporary folder': folder.temporary,
        'a folder of its own': outside,
        'the home': path.join(outside, 'home', 'runs'),
      };
      const parent = places[where] ?? where;
      await mkdir(parent, { recursive: true });
      if (parent.startsWith(outside)) await chmod(parent, 0o777);
      const env = { EXECUTION_DIR: parent, HOME: path.join(outside, 'home') };
      const other = await startAttack(folder, attacker, {
        script: 'echo PRIVATE > file; cp file "$TMPDIR"; echo "at $PWD"; sleep 60',
        options: { env },
      });
      const [, workspace = ''] = await other.printed(/at (\/.*)/);
      const { stdout } = await attack(folder, attacker, {
        script: `cat ${workspace}/file ${path.dirname(workspace)}/tmp/file 2>/dev/null; ls ${parent} | wc -l; pwd; echo x > here; cat here`,
        options: { env },
      });
      expect(stdout).toMatch(new RegExp(`^1\n${parent}/runbook-\\w+/workspace\nx\n$`));
      other.signal('SIGTERM');
      await other.ended;
    },
  );

  it('does not read the environment of the runner', async (context) => {
    const folder = await arena(context, attacker);
    const { stdout } = await attack(folder, attacker, {
      script:
        'cat /proc/*/environ /proc/*/cmdline | tr "\\0" "\\n" | grep -E "hunter[2]|JWT_[S]ECRET"; echo end',
      options: { env: { JWT_SECRET: 'hunter2'.repeat(8) } },
    });
    expect(stdout).toBe('end\n');
  });

  it('writes to a declared folder that the host allows, but not through a link in it', async (context) => {
    const folder = await arena(context, attacker);
    const outside = await makeOutside(context);
    const [data, other] = [path.join(outside, 'data'), path.join(outside, 'other')];
    for (const name of [data, other]) {
      await mkdir(name);
      await chmod(name, 0o777);
    }
    await symlink(other, path.join(data, 'link'));
    await mkdir(path.join(folder.home, 'cache'));
    await chmod(path.join(folder.home, 'cache'), 0o777);
    const options = { env: { SANDBOX_ALLOW_WRITE: `${data},~/cache,${outside}` } };
    const { stdout } = await attack(folder, attacker, {
      execution: `write: [${data}, ~/cache]`,
      script: `echo DATA > ${data}/new; echo CACHE > ~/cache/new; (echo x > ${other}/new) 2>/dev/null || echo not there; (echo x > ${data}/link/new) 2>/dev/null || echo not there; cat ${data}/new ~/cache/new`,
      options,
    });
    expect(stdout).toBe('not there\nnot there\nDATA\nCACHE\n');
    for (const entry of [`${data}/link`, `${data}/missing`]) {
      const { exitCode, stderr } = await attack(folder, attacker, {
        execution: `write: ["${entry}"]`,
        script: 'true',
        options,
      });
      expect(exitCode).toBe(125);
      expect(stderr).toMatch(/leads through a link|there is no such thing/);
    }
  });

  it('sees nothing of /run, and what SANDBOX_HIDE adds is hidden, too', async (context) => {
    const folder = await arena(context, attacker);
    const outside = await makeOutside(context);
    const home = path.join(outside, 'home');
    await place(path.join(home, 'tool', 'lib', 'secret'));
    await place(path.join(home, 'tool', 'bin', 'tool'), '#!/bin/sh\necho tool', 0o755);
    await place(path.join(outside, 'hide'));
    await place(path.join(folder.path, 'seen'), 'SEEN\n');
    const { stdout, stderr } = await attack(folder, attacker, {
      script: `ls -A /run | grep -vE "^(systemd|resolvconf|NetworkManager)$"; tool; cat ${home}/tool/lib/secret ${outside}/hide 2>/dev/null; cat ${folder.path}/seen 2>/dev/null; echo end`,
      options: {
        env: {
          HOME: home,
          SANDBOX_HIDE: `~/tool/lib/secret, ${outside}/hide,/missing`,
          PATH: `${folder.env['PATH']}:${home}/tool/bin`,
        },
      },
    });
    expect(stdout, stderr).toBe('tool\nend\n');
  });

  it('is refused where workspaces would stand in a folder that cannot be hidden', async (context) => {
    const folder = await arena(context, attacker);
    const { exitCode, stdout, stderr } = await attack(folder, attacker, {
      script: 'echo ran',
      options: { env: { EXECUTION_DIR: '/srv' } },
    });
    expect({ exitCode, stdout }).toEqual({ exitCode: 125, stdout: '' });
    if (attacker.isRoot) expect(stderr).toContain('make a folder of its own there');
  });

  it('is not fooled by what a path is called', async (context) => {
    const folder = await arena(context, attacker);
    const strange = path.join(folder.path, 'a folder\nwith "strange" --bind \\ names');
    await mkdir(strange);
    await chmod(strange, 0o777);
    await place(path.join(strange, 'an input'), 'INPUT\n');
    await place(path.join(folder.home, '--bind', 'x y'), 'HERE\n');
    const file = await writeRunbook(strange, 'A Document', {
      files: 'Input: an input\nOutput: an output',
      execution: 'read: ["~/--bind"]',
      script: 'cat "an input" ~/--bind/*; printf %s "$RUNBOOK_FILE" | wc -l; echo OUT > "an output"',
    });
    const env = { SANDBOX: 'required', TMPDIR: strange };
    const { stdout, stderr } = await runbook(folder, ['execute', file], { env, through: attacker.through });
    expect(stdout, stderr).toBe('INPUT\nHERE\n1\n');
    const injected = await attack(folder, attacker, {
      execution: `read: ["~/x\\0--bind\\0/\\0/\\0--chdir\\0/"]`,
      script: 'pwd',
    });
    expect(injected.stdout).not.toBe('/\n');
  });
});

describe('a user', () => {
  it('may be root in the home of another, which is closed to root without capabilities', async (context) => {
    const [attacker] = attackers;
    const folder = await arena(context, attacker!);
    const outside = await makeOutside(context);
    const home = path.join(outside, 'home');
    await place(path.join(home, '.nvm', 'bin', 'tool'), '#!/bin/sh\necho tool\n', 0o755);
    const secret = await place(path.join(home, 'token'), 'x', 0o600);
    for (const name of ['', '.nvm', '.nvm/bin', 'token']) await chown(path.join(home, name), 4321, 4321);
    await chmod(home, 0o700);
    const { exitCode, stdout, stderr } = await attack(folder, attacker!, {
      script: `cat ${secret} 2>/dev/null; ls ${home} 2>/dev/null; echo end`,
      options: { env: { HOME: home, PATH: `${folder.env['PATH']}:${home}/.nvm/bin` } },
    });
    expect({ exitCode, stdout }, stderr).toEqual({ exitCode: 0, stdout: 'end\n' });
  });

  it('need not be known to the system', async (context) => {
    needs(context, 'root');
    const attacker = {
      ...attackers[1]!,
      through: (command: readonly string[]) =>
        ['setpriv', '--reuid', '54321', '--regid', '54321', '--clear-groups', '--', ...command] as const,
    };
    const folder = await arena(context, attacker);
    const { exitCode, stdout, stderr } = await attack(folder, attacker, {
      script: 'id -u; ls -A "$HOME"',
    });
    expect({ exitCode, stdout }, stderr).toEqual({ exitCode: 0, stdout: '54321\n' });
  });
});

describe('toolchains', () => {
  it.for(attackers.map((attacker) => [attacker.who, attacker] as const))(
    'on the search path work in a hidden home, and what stands beside them does not come back: %s',
    async ([, attacker], context) => {
      const folder = await arena(context, attacker);
      const home = path.join(await makeOutside(context), 'home');
      const tool = (name: string, text = `echo ${name}`): Promise<string> =>
        place(path.join(home, name), `#!/bin/sh\n${text}\n`, 0o755);
      await tool('.nvm/versions/node/v1/bin/nvm-tool', `cat ${home}/.nvm/versions/node/v1/lib/text`);
      await place(path.join(home, '.nvm/versions/node/v1/lib/text'), 'nvm\n');
      await tool('.cargo/bin/cargo-tool', 'cat "$HOME/.rustup/toolchains/stable/text"');
      await place(path.join(home, '.rustup/toolchains/stable/text'), 'cargo\n');
      await tool('.local/bin/local-tool', 'echo local');
      await tool('.local/share/pipx/venvs/app/bin/app-tool', 'echo app');
      await symlink('../share/pipx/venvs/app/bin/app-tool', path.join(home, '.local/bin/app-tool'));
      await tool('opt/java-1/bin/java-tool', `cat ${home}/opt/java-1/lib/text`);
      await place(path.join(home, 'opt/java-1/lib/text'), 'java\n');
      await symlink('java-1', path.join(home, 'opt/java'));
      await tool('bin/own-tool', 'echo own');
      await tool('project/bin/project-tool', 'echo project');
      await place(path.join(home, 'project/lib/text'));
      const secrets = [
        '.cargo/credentials.toml',
        '.local/share/keyrings/login',
        '.local/share/app/token',
        '.netrc',
        'project/.env',
        'opt/secret',
        '.nvm-secret',
      ];
      const files = await Promise.all(secrets.map((name) => place(path.join(home, name))));
      const folders = [
        '.nvm/versions/node/v1/bin',
        '.cargo/bin',
        '.local/bin',
        'opt/java/bin',
        'bin',
        'project/bin',
        '',
      ].map((name) => path.join(home, name));
      const { stdout, stderr } = await attack(folder, attacker, {
        script: [
          'for tool in nvm cargo local app java own project; do "$tool-tool"; done',
          `cat ${files.join(' ')} 2>/dev/null; cat "$HOME"/../../.netrc 2>/dev/null`,
          `ls -A ${home}/.cargo`,
        ].join('\n'),
        options: { env: { HOME: home, PATH: [folder.env['PATH'], ...folders].join(':') } },
      });
      expect(stdout, stderr).toBe('nvm\ncargo\nlocal\napp\njava\nown\nproject\nbin\n');
    },
  );

  it('serve as interpreters where a document names one by its path', async (context) => {
    const [attacker] = attackers;
    const folder = await arena(context, attacker!);
    const home = path.join(await makeOutside(context), 'home');
    const shell = await place(
      path.join(home, 'tools', 'shell'),
      '#!/bin/sh\necho through "$@" > out\nexec sh "$@"\n',
      0o755,
    );
    await place(path.join(home, 'tools', 'secret'));
    const { stdout } = await attack(folder, attacker!, {
      script: `#!${shell}\necho ran; cat ${home}/tools/secret 2>/dev/null`,
      options: { env: { HOME: home } },
    });
    expect(stdout).toBe('ran\n');
  });
});
