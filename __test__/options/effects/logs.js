'use strict';

/* Options about files: what each is seen to do. The form of an entry is in `every.test.js`. */

const fs = require('node:fs');
const path = require('node:path');
const { until } = require('../../api/helper.js');

/** An app that prints a line on each stream; `seen` is called when both are where they are expected. */
function printing(options, files, expected) {
  return {
    app: (box, name) => ({
      script: box.write(`${name}.js`, `console.log('to out'); console.error('to err'); setInterval(() => {}, 1000);`),
      ...options(box),
    }),
    seen: (box, name) =>
      until(() => {
        const texts = files(box, name).map((file) => box.read(file));
        return texts.every((text) => text.endsWith('\n')) && texts.map((text) => text.replace(/\d/g, '0').trim());
      }, `the files of ${name}`),
    expected,
  };
}

const own = (name) => [`h/logs/${name}-out.log`, `h/logs/${name}-error.log`];

module.exports = {
  out_file: printing(
    (box) => ({ out_file: './deep/er/out.txt', cwd: box.folder }),
    () => ['deep/er/out.txt'],
    () => ['to out'],
  ),
  error_file: printing(
    (box) => ({ error_file: path.join(box.folder, 'err.txt') }),
    () => ['err.txt'],
    () => ['to err'],
  ),
  log_file: {
    ...printing(
      (box) => ({ log_file: path.join(box.folder, 'both.txt') }),
      (_box, name) => ['both.txt', ...own(name)],
    ),
    seen: (box, name) =>
      until(() => {
        const both = box.read('both.txt').split('\n').slice(0, -1).sort();
        const alone = own(name).map((file) => box.read(file));
        return both.length === 2 && alone.every((text) => text.endsWith('\n')) && [both, alone];
      }, 'both lines in one file, and each in its own'),
    expected: () => [
      ['to err', 'to out'],
      ['to out\n', 'to err\n'],
    ],
  },
  merge_logs: {
    ...printing(
      () => ({ instances: 2, exec_mode: 'fork', merge_logs: true }),
      (_box, name) => own(name),
    ),
    seen: (box, name) => until(() => own(name).every((file) => box.read(file).split('\n').length === 3), 'two lines in each file'),
    expected: () => true,
  },
  disable_logs: {
    app: (box, name) => ({
      script: box.write(
        `${name}.js`,
        `console.log('unwritten'); require('node:fs').writeFileSync('printed', ''); setInterval(() => {}, 1000);`,
      ),
      disable_logs: true,
    }),
    seen: async (box, name) => {
      await until(() => fs.existsSync(path.join(box.folder, 'printed')), 'the line to be printed');
      // A line of another app that is started now comes after it.
      await box.call('start', {
        name: `after-${name}`,
        script: box.write('after.js', `console.log('after'); setInterval(() => {}, 1000);`),
      });
      await until(() => box.log(`after-${name}-out.log`), 'a later line');
      return box.log(`${name}-out.log`);
    },
    expected: () => '',
  },
  log_type: {
    ...printing(() => ({ log_type: 'json' })),
    seen: async (box, name) => {
      const text = await until(() => box.log(`${name}-out.log`).endsWith('\n') && box.log(`${name}-out.log`), 'a line');
      const { message, type, app_name, process_id } = JSON.parse(text);
      return [message, type, app_name, typeof process_id];
    },
    expected: (_box, name) => ['to out\n', 'out', name, 'number'],
  },
  log_date_format: printing(
    () => ({ log_date_format: '[at] YYYY/MM' }),
    (_box, name) => own(name),
    () => ['at 0000/00: to out', 'at 0000/00: to err'],
  ),
  time: printing(
    () => ({ time: true }),
    (_box, name) => own(name),
    () => ['0000-00-00T00:00:00: to out', '0000-00-00T00:00:00: to err'],
  ),
  pid_file: {
    app: (box) => ({ script: box.idle, pid_file: path.join(box.folder, 'own.pid') }),
    seen: async (box, name, record) => {
      const [{ pid }] = await box.call('describe', name);
      const { pm_pid_path, pm_id } = await record();
      return [path.basename(pm_pid_path) === `own-${pm_id}.pid`, box.read(pm_pid_path) === String(pid)];
    },
    expected: () => [true, true],
  },
};
