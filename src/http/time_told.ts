// A time as an answer tells it, when there may be none.

import { rfc3339 } from "../base/time.ts";

/** RFC 3339, or null. */
export function timeOrNull(ms: number | null): string | null {
  return ms === null ? null : rfc3339(ms);
}
