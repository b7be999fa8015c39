'use strict';

/** From medians to a verdict and a table. */

const os = require('node:os');

/** Three significant digits are what these measurements carry. */
function number(value) {
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 100) return value.toFixed(0);
  return size >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** `{ ratio }`: at most that part of B. `{ least }`: at least that part of it. `{ most }`: at most that value, in the metric's own unit. No target: for information. */
function judge(result) {
  const ratio = result.b.median === 0 ? Number.NaN : result.a.median / result.b.median;
  const { target } = result;
  if (!target) return { ...result, ratio, verdict: '' };
  const isMet = {
    ratio: () => ratio <= target.ratio,
    least: () => ratio >= target.least,
    most: () => result.a.median <= target.most,
  }[Object.keys(target)[0]]();
  return { ...result, ratio, verdict: isMet ? 'met' : 'missed' };
}

function targetText({ target, unit }) {
  if (!target) return '';
  if (target.most !== undefined) return `≤ ${target.most}${unit ? ` ${unit}` : ''}`;
  if (target.least !== undefined) return `≥ ${target.least}`;
  return target.ratio > 1 / 3 ? `≤ ${target.ratio}` : `≤ 1/${Math.round(1 / target.ratio)}`;
}

/** Ratios below one read better turned over. */
function ratioText(ratio) {
  if (!Number.isFinite(ratio)) return '–';
  return ratio > 0 && ratio < 0.67 ? `1/${(1 / ratio).toFixed(1)}` : ratio.toFixed(2);
}

function spreadText(side) {
  return `${number(side.min)}–${number(side.max)}`;
}

/** A Markdown table, readable as plain text too. */
function table(results) {
  const head = ['benchmark', 'unit', 'ours', 'spread', 'pm2', 'spread', 'ours/pm2', 'target', ''];
  const rows = results.map((result) => [
    result.label,
    result.unit,
    number(result.a.median),
    spreadText(result.a),
    number(result.b.median),
    spreadText(result.b),
    ratioText(result.ratio),
    targetText(result),
    result.verdict,
  ]);
  const widths = head.map((title, i) => Math.max(title.length, 2, ...rows.map((row) => row[i].length)));
  const line = (cells) => `| ${cells.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}

function machine() {
  const cpu = (os.cpus()[0] || {}).model || 'unknown CPU';
  const text = `${os.cpus().length} × ${cpu.trim()}, Linux ${os.release()}, Node ${process.version}`;
  return { text, cpus: os.cpus().length, cpu, kernel: os.release(), node: process.version };
}

module.exports = { judge, table, machine };
