// What the API tells of a fixture's rows: asked once by the version that made it, and again by each version in its tests.

import type { Call } from "./fixture_call.ts";
import type { Made } from "./fixture_rows.ts";

/** The answers, by what was asked. */
export type Told = Readonly<Record<string, unknown>>;

const STATUSES = ["pending", "failed", "dead_letter", "delivered"];

/** Asks for everything, by every key, in the same order each time. */
export async function tellAll(call: Call, made: Made): Promise<Told> {
  const told: Record<string, unknown> = {};
  const get = async (who: string, where: string, key?: string) => {
    const answer = await call("GET", where, undefined, key);
    told[`${who} ${where}`] = lasting(answer);
    return answer;
  };
  for (const [name, key] of [
    ["acme", made.keys.acme],
    ["bolt", made.keys.bolt],
  ] as const) {
    await get(name, "/api/keys", key);
    await get(name, "/api/endpoints", key);
    const { deliveries } = await get(name, "/api/deliveries?limit=100", key);
    for (const { id } of deliveries) await get(name, `/api/deliveries/${id}`, key);
    for (const status of STATUSES) await get(name, `/api/inbox?order=asc&limit=12&status=${status}`, key);
  }
  await get("acme", "/api/webhook/config", made.keys.acme);
  await get("acme", `/api/replays/${made.replay}`, made.keys.acme);
  for (const [name, id] of Object.entries(made.events)) {
    if (name === "tombstone") continue;
    await get("acme", `/api/events/${id}`, made.keys.acme);
    await get("acme", `/api/events/${id}/explain`, made.keys.acme);
  }
  await get("admin", "/api/admin/organizations");
  await get("admin", "/api/admin/audit?limit=100");
  const lines: string = await call("GET", `/api/admin/organizations/${made.organizations.acme}/export`);
  told.export = lasting(
    lines
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line)),
  );
  return told;
}

/** Without what reading itself changes, or the time of reading. */
function lasting<T>(answer: T): T {
  const text = JSON.stringify(answer, (name, value) => (name === "last_used_at" ? undefined : value));
  return JSON.parse(text);
}
