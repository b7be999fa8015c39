'use strict';

/* Which program runs a script: told by its name or its first line, and looked for at each start. */

const { execFile } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const { sandbox, failure, packageFolder, until } = require('../api/helper.js');
const { LINES } = require('../cluster/helper.js');

const box = sandbox();

/** The program of that name in PATH, or null. */
function installed(program) {
  const found = process.env.PATH.split(':').map((folder) => path.join(folder, program));
  return found.find((file) => fs.existsSync(file)) ?? null;
}

const said = (name) => until(() => box.log(`${name}-out.log`).endsWith('\n') && box.log(`${name}-out.log`), `${name} to say something`);
const status = async (name) => (await box.call('describe', name))[0].pm2_env.status;

function program(name, text) {
  const file = box.write(name, text);
  fs.chmodSync(file, 0o755);
  return file;
}

// Protects: people name a script and expect it to be run by what its name says.
test('a script is run by what its extension or its first line names', async () => {
  const scripts = {
    'shell.sh': ['bash', 'echo shell; exec sleep 1000\n'],
    'perl.pl': ['perl', '$| = 1; print "perl\\n"; sleep 1000;\n'],
    'python.py': ['python3', 'print("python")\nimport time\ntime.sleep(1000)\n'],
    'script.js': ['node', 'console.log("script"); setInterval(() => {}, 1000);\n'],
    'module.mjs': ['node', 'import fs from "node:fs"; console.log(typeof fs === "object" && "module"); setInterval(() => {}, 1000);\n'],
    shebang: ['sh', '#!/bin/sh\necho shebang; exec sleep 1000\n'],
    'node-shebang': ['node', '#!/usr/bin/env node\nconsole.log("node-shebang"); setInterval(() => {}, 1000);\n'],
  };
  const present = Object.entries(scripts).filter(([, [needed]]) => installed(needed));
  const apps = present.map(([name, [, text]]) => ({ script: program(name, text), kill_timeout: 500 }));
  await box.call('start', apps);
  for (const [name] of present) {
    const stem = path.parse(name).name;
    expect(await said(stem)).toBe(`${stem}\n`);
  }
});

// Protects: TypeScript runs where Node can strip types, and elsewhere somebody is told what it takes.
test.each(LINES)('a TypeScript file under Node %s runs or says what it needs', async (line, node) => {
  if (node === null) return;
  box.write('typed.ts', 'const text: string = "typed"; console.log(text); setInterval(() => {}, 1000);');
  const caller = box.write(
    'call.js',
    `require(${JSON.stringify(packageFolder)}).start('./typed.ts', { name: 'typed' }, (error) => { console.log(error && error.message); process.exit(); });`,
  );
  // No bun: it would be preferred.
  const env = { PATH: `${path.dirname(node)}:/usr/bin:/bin`, HOME: box.folder, PM2_HOME: box.home };
  const out = await new Promise((resolve, reject) =>
    execFile(node, [caller], { cwd: box.folder, env }, (error, stdout) => (error ? reject(error) : resolve(stdout.trim()))),
  );
  if (Number(line) >= 22) {
    expect(out).toBe('null');
    expect(await said('typed')).toBe('typed\n');
  } else {
    expect(out).toContain('TypeScript apps require bun, Node.js >= 22.18');
    expect(await box.call('list')).toEqual([]);
  }
});

// Protects: an app outlives the removal of the Node that it was started with, which is what an update of Node is.
test('a Node that is gone gives way to the one in PATH, and that is said', async () => {
  const old = path.join(box.folder, 'old', 'node');
  fs.mkdirSync(path.dirname(old));
  fs.symlinkSync(process.execPath, old);
  const script = box.write('app.js', 'console.log(process.argv0); setInterval(() => {}, 1000);');
  await box.call('start', { script, interpreter: old });
  expect(await said('app')).toContain(old);
  fs.unlinkSync(old);
  await box.call('restart', 'app');
  await until(() => box.log('app-out.log').split('\n').length === 3, 'the second start');
  expect(box.read('h/pm2.log')).toContain(`App [app:0] is run by node from PATH: ${old} is gone`);
  // Whoever puts it back is heard too: the record still names it.
  fs.symlinkSync(process.execPath, old);
  await box.call('restart', 'app');
  await until(() => box.log('app-out.log').split(`${old}\n`).length === 3, 'the old one again');
});

// Protects: no other program takes the place of one that was named.
test('any other interpreter that is gone is an error by its name, until it is back', async () => {
  const speak = program('speak', '#!/bin/sh\necho one; exec sleep 1000\n');
  const script = box.write('app.txt', '');
  await box.call('start', { script, interpreter: speak, autorestart: false });
  await until(() => box.log('app-out.log') === 'one\n', 'the first start');
  fs.unlinkSync(speak);
  expect((await failure(box.call('restart', 'app'))).message).toContain(`spawn ${speak} ENOENT`);
  expect(await status('app')).toBe('errored');
  program('speak', '#!/bin/sh\necho two; exec sleep 1000\n');
  await box.call('restart', 'app');
  await until(() => box.log('app-out.log') === 'one\ntwo\n', 'the start after it is back');
});
