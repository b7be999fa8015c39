'use strict';

/*
 * The values behind an app's metrics. A measure that nothing was told yet has no value, and is then not reported.
 */

/** Most samples that a histogram keeps; past it each new one takes the place of a random one, so that the kept ones stay typical. */
const SAMPLES_MAX = 1028;

/** A value that is set. */
class Gauge {
  #value;

  set(value) {
    this.#value = value;
  }

  val() {
    return this.#value;
  }
}

/** A count that goes up and down. */
class Counter {
  #count;

  inc(by = 1) {
    this.#count = (this.#count ?? 0) + by;
  }

  dec(by = 1) {
    this.inc(-by);
  }

  reset(to = 0) {
    this.#count = to;
  }

  val() {
    return this.#count;
  }
}

/** Events in a unit of time. */
class Meter {
  #marks = [];
  #unit;
  #span;
  #isUsed = false;

  /** @param {{samples?: number, seconds?: number, timeframe?: number}} options rate per `samples` seconds, over the last `timeframe` seconds */
  constructor({ samples, seconds, timeframe } = {}) {
    this.#unit = (samples || seconds || 1) * 1000;
    this.#span = Math.max((timeframe || 60) * 1000, this.#unit);
  }

  mark(count = 1) {
    this.#isUsed = true;
    const now = Date.now();
    const last = this.#marks.at(-1);
    // One entry for a tenth of a second: their number is bounded by the span, whatever happens in it.
    if (last !== undefined && now - last.at < 100) last.count += count;
    else this.#marks.push({ at: now, count });
    this.#forget(now);
  }

  val() {
    if (!this.#isUsed) return undefined;
    const now = Date.now();
    this.#forget(now);
    const total = this.#marks.reduce((sum, { count }) => sum + count, 0);
    const since = this.#marks.length === 0 ? this.#span : Math.max(now - this.#marks[0].at, this.#unit);
    return Math.round((total / since) * this.#unit * 100) / 100;
  }

  #forget(now) {
    while (this.#marks.length > 0 && now - this.#marks[0].at > this.#span) this.#marks.shift();
  }
}

const PERCENTILES = { median: 0.5, p75: 0.75, p95: 0.95, p99: 0.99, p999: 0.999 };

/** How values are distributed: `val` is the one measurement that was asked for. */
class Histogram {
  #measurement;
  #samples = [];
  #count = 0;
  #sum = 0;
  #mean = 0;
  #squares = 0;
  #min = Number.POSITIVE_INFINITY;
  #max = Number.NEGATIVE_INFINITY;

  /** @param {{measurement?: string}} options `min`, `max`, `sum`, `count`, `mean` (default), `variance`, `stddev`, `median`, `p75`, `p95`, `p99`, `p999` */
  constructor({ measurement } = {}) {
    this.#measurement = measurement ?? 'mean';
  }

  update(value) {
    this.#count += 1;
    this.#sum += value;
    this.#min = Math.min(this.#min, value);
    this.#max = Math.max(this.#max, value);
    // Welford's way, which does not lose digits.
    const off = value - this.#mean;
    this.#mean += off / this.#count;
    this.#squares += off * (value - this.#mean);
    if (this.#samples.length < SAMPLES_MAX) this.#samples.push(value);
    else if (Math.random() < SAMPLES_MAX / this.#count) this.#samples[Math.floor(Math.random() * SAMPLES_MAX)] = value;
  }

  val() {
    if (this.#count === 0) return undefined;
    const value = this.fullResults()[this.#measurement];
    return value === undefined ? undefined : Math.round(value * 100) / 100;
  }

  /** Every measurement by its name. */
  fullResults() {
    const sorted = [...this.#samples].sort((a, b) => a - b);
    const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
    const variance = this.#count < 2 ? 0 : this.#squares / (this.#count - 1);
    const percentiles = Object.fromEntries(Object.entries(PERCENTILES).map(([name, share]) => [name, at(share)]));
    const exact = { min: this.#min, max: this.#max, sum: this.#sum, count: this.#count, mean: this.#mean };
    return { ...exact, variance, stddev: Math.sqrt(variance), ...percentiles };
  }
}

module.exports = { Gauge, Counter, Meter, Histogram };
