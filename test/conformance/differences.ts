/**
 * What a start method does not have, case by case, and why: everything else that is promised is promised of each.
 */

type Reasons = Record<string, string>;

/** Cases by fixture, of processes that begin afresh. */
const OF_FRESH: Record<string, Reasons> = {};

/** @throws Error a title that the fixture does not have. */
export function differencesOf(
  method: string,
  fixture: string,
  titles: readonly string[],
): Map<string, string> {
  const reasons = method === 'fork' ? {} : (OF_FRESH[fixture] ?? {});
  const unknown = Object.keys(reasons).filter((title) => !titles.includes(title));
  if (unknown.length > 0) throw new Error(`${fixture} has no such cases: ${unknown.join(', ')}`);
  return new Map(Object.entries(reasons));
}
