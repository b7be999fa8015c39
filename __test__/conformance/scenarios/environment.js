'use strict';

/** What a program that is not Node finds in its environment, its arguments and its working directory. */

const fs = require('node:fs');

/** Channel and shell internals, which are nobody's business. */
const INTERNAL = /^(NODE_CHANNEL|_$|SHLVL|OLDPWD|PWD$)/;

/** What the script wrote: two lines, then the variables. */
function seen(file) {
  const [cwd, args, ...lines] = fs.readFileSync(file, 'utf8').trimEnd().split('\n');
  const variables = lines
    .filter((line) => line.includes('='))
    .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]);
  return { cwd, args, variables: Object.fromEntries(variables.filter(([name]) => !INTERNAL.test(name))) };
}

exports.run = async (world) => {
  const script = world.file(
    'show.sh',
    'pwd > "$OUT"; echo "$@" >> "$OUT"; tr "\\\\0" "\\\\n" < /proc/$$/environ | sort >> "$OUT"; echo done >> "$OUT"; exec sleep 86400\n',
  );
  const out = `${world.work}/seen.txt`;
  await world.step('start', 'start', {
    name: 'show',
    script,
    args: ['a b', 'c'],
    env: { OUT: out, FLAG: true, COUNT: 3, LIST: [1, 2], NOTHING: null, OBJECT: { a: 1 } },
    filter_env: ['LANG'],
  });
  await world.untilText(out, 'done\n');
  world.note('seen', seen(out));
  fs.unlinkSync(out);
  await world.step('restart with a new environment', 'restart', 'show', { updateEnv: true });
  await world.untilText(out, 'done\n');
  world.note('seen again', seen(out));
};
