'use strict';

const { spawn } = require('node:child_process');

/** What is kept of a program's words, for the error that quotes them. */
const WORDS_MAX = 1024 * 1024;

/** How many of its last lines an error quotes. */
const QUOTED = 10;

/**
 * Runs a program, without a shell, to its end. Gives what it wrote to stdout, as text; fails with its last words when it ends with anything but 0, cannot be
 * started, or takes longer than `limit` ms.
 */
function run(program, args, { cwd, env, limit, input } = {}) {
  return new Promise((resolve, reject) => {
    const stdin = input === undefined ? 'ignore' : 'pipe';
    // A group of its own, so that what it has started ends with it.
    const child = spawn(program, args, { cwd, env: env ?? process.env, stdio: [stdin, 'pipe', 'pipe'], detached: true, windowsHide: true });
    const text = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr']) {
      child[stream].setEncoding('utf8').on('data', (chunk) => {
        text[stream] = (text[stream] + chunk).slice(-WORDS_MAX);
      });
    }
    child.stdin?.on('error', () => {}).end(input);
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      endGroup(child.pid);
    }, limit);
    child.on('error', (error) => {
      clearTimeout(timer);
      reject(Object.assign(new Error(`${program} cannot be run: ${error.message}`, { cause: error }), { code: error.code }));
    });
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      if (code === 0) return resolve(text.stdout);
      const how = isLate ? `did not end within ${limit} ms` : `ended with ${signal ?? `code ${code}`}`;
      const words = (text.stderr || text.stdout).trim().split('\n').slice(-QUOTED).join('\n');
      return reject(
        Object.assign(new Error(`${program} ${how}${words === '' ? '' : `: ${words}`}`), { exitCode: code, stderr: text.stderr }),
      );
    });
  });
}

function endGroup(pid) {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has just ended by itself.
  }
}

module.exports = { run };
