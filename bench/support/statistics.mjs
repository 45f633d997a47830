/** What a list of times says: small, exact, no dependency. */

/** The value below which the share `q` of `values` lies: nearest rank, so p99 of 200 is the third largest. */
export function quantile(values, q) {
  if (values.length === 0) return NaN;
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
}

/** The middle value; the mean of the two middle ones when their number is even. */
export function median(values) {
  if (values.length === 0) return NaN;
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** What tables and charts need of one series of times in milliseconds. */
export function summary(values) {
  return {
    count: values.length,
    median: median(values),
    p99: quantile(values, 0.99),
    min: Math.min(...values),
    max: Math.max(...values),
  };
}

/**
 * The median of `to` over the median of `from`, with the interval in which 95 % of the ratios lie when both
 * series are drawn again at random from themselves (bootstrap). An interval that contains 1 means: this run
 * cannot tell them apart.
 */
export function ratioOfMedians(from, to, draws = 2000) {
  const again = (values) => values.map(() => values[Math.floor(Math.random() * values.length)]);
  const ratios = Array.from({ length: draws }, () => median(again(to)) / median(again(from)));
  return {
    ratio: median(to) / median(from),
    low: quantile(ratios, 0.025),
    high: quantile(ratios, 0.975),
  };
}
