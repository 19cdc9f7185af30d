// Which known name somebody probably meant. Used to stop a start on a misspelt setting: a typo in
// RETRY_SCHEDULE that is silently ignored shows only weeks later, in production.

/**
 * Number of single-character edits (insert, delete, replace, or swap of neighbours) from `a` to `b`:
 * the optimal string alignment distance.
 */
export function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= b.length; column += 1) {
      const same = a[row - 1] === b[column - 1];
      const swapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      current[column] = Math.min(
        at(last, column) + 1,
        at(current, column - 1) + 1,
        at(last, column - 1) + (same ? 0 : 1),
        swapped ? at(beforeLast, column - 2) + 1 : Number.POSITIVE_INFINITY,
      );
    }
    beforeLast = last;
    last = current;
  }
  return at(last, b.length);
}

/** The known name closest to `text`, if one is at most `distanceMax` edits away; the first one on a tie. */
export function nearest(text: string, known: readonly string[], distanceMax: number): string | null {
  let best: string | null = null;
  let bestDistance = distanceMax + 1;
  for (const name of known) {
    if (Math.abs(name.length - text.length) >= bestDistance) continue;
    const distance = editDistance(text, name);
    if (distance < bestDistance) [best, bestDistance] = [name, distance];
  }
  return best;
}

/**
 * The given names that are nearly a known one, but none. Short known names are left out: HOME, HOSTS and PORTS
 * are as near to HOST and PORT as a typo is. The longer a known name, the surer that it was meant: 1 edit at 8
 * characters, 2 above. Upper and lower case are not told apart, so `admin_token` is nearly ADMIN_TOKEN.
 */
export function misspelt(
  given: readonly string[],
  known: readonly string[],
): readonly { readonly name: string; readonly meant: string }[] {
  const medium = known.filter((name) => name.length === 8);
  const long = known.filter((name) => name.length > 8);
  return given
    .filter((name) => !known.includes(name))
    .flatMap((name) => {
      const meant = nearest(name.toUpperCase(), long, 2) ?? nearest(name.toUpperCase(), medium, 1);
      return meant === null ? [] : [{ name, meant }];
    });
}

function at(row: readonly number[], column: number): number {
  return row[column] ?? Number.POSITIVE_INFINITY;
}
