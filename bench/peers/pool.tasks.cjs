/** The same for pools that load their workers by `require`. */

exports.trivial = (x) => x;
exports.busy = (milliseconds) => {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
  return milliseconds;
};
