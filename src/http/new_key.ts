// Making keys: a fresh text, its hash, and who has to wait for it.

import { type Environment, newApiKey } from "../base/api_key.ts";
import type { Store } from "../store/store.ts";
import type { HashGate } from "./key_hash.ts";
import { HttpProblem } from "./problem.ts";

/**
 * A key that is not stored yet. Key ids have 36 bits, so two may meet: another is drawn then. `lane` is who waits for
 * the hash (see HashGate.hash); 503 when too many wait.
 */
export async function drawKey(
  { store, hashGate }: { store: Store; hashGate: HashGate },
  environment: Environment,
  lane: string,
): Promise<{ apiKey: string; keyId: string; secretHash: string }> {
  let drawn = newApiKey(environment);
  while (store.keyRecord(drawn.keyId) !== null) drawn = newApiKey(environment);
  const hashed = await hashGate.hash(drawn.secret, lane);
  if (hashed.kind === "done") {
    return { apiKey: drawn.apiKey, keyId: drawn.keyId, secretHash: hashed.value };
  }
  const detail =
    "Too many keys are being made. Nothing was stored; try again after the seconds in Retry-After.";
  throw new HttpProblem("overloaded", {
    detail,
    headers: { "retry-after": String(hashed.retryAfterSeconds) },
  });
}
