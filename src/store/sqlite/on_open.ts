// What is put right when the file is opened, before anything else is done with it.

import type { Database } from "bun:sqlite";
import type { SecretBox } from "../../base/secret_box.ts";

type Sealed = { endpoint: number; id: string; secrets: string };

/**
 * Seals all secrets by the key of now: those that were stored plain before there was a key, and those of an older key.
 * The old texts are not left behind, neither in the pages (secure_delete) nor in the WAL.
 */
export function resealSecrets(db: Database, box: SecretBox): { readonly kind: "done" | "wrong_key" } {
  const rows = db.query<Sealed, []>("SELECT endpoint, id, secrets FROM endpoints").all();
  const texts = rows.map(({ id, secrets }) => box.open(secrets, id));
  if (texts.includes(null)) return { kind: "wrong_key" };
  const update = db.prepare<void, [string, number]>("UPDATE endpoints SET secrets = ? WHERE endpoint = +?");
  let resealed = 0;
  db.transaction(() => {
    rows.forEach(({ endpoint, id, secrets }, i) => {
      if (box.isCurrent(secrets)) return;
      update.run(box.seal(texts[i] ?? "", id), endpoint);
      resealed++;
    });
  })();
  if (resealed > 0) db.run("PRAGMA wal_checkpoint(TRUNCATE)");
  return { kind: "done" };
}

/** What waits for its deliver_at waits for a time of the wall clock, not for a while. */
const NOT_HIDDEN =
  "NOT EXISTS (SELECT 1 FROM scheduled s WHERE s.event = deliveries.event AND s.nth IS NULL)";
const UNSEALED = "event > (SELECT value FROM marks WHERE name = 'due_sealed') AND state = 0";

/**
 * When the clock was set back while nothing ran, what is due in an hour would be due in an hour and a day: all times
 * that delivery wrote go back with it. (Within a run delivery has a clock that is never set, delivery/clock.ts.)
 */
export function followClock(db: Database, nowMs: number): void {
  const mark = db.query<{ value: number }, []>("SELECT value FROM marks WHERE name = 'delivery_clock'").get();
  const aheadMs = (mark?.value ?? 0) - nowMs;
  if (aheadMs <= 0) return;
  db.transaction(() => {
    // Two statements: as one, it would read all deliveries that there ever were.
    for (const waiting of ["queued = 1", UNSEALED]) {
      db.run(`UPDATE deliveries SET due_at = due_at - ?1 WHERE ${waiting} AND due_at > 0 AND ${NOT_HIDDEN}`, [
        aheadMs,
      ]);
    }
    db.run(
      `UPDATE endpoints SET failing_since = failing_since - ?1, paused_until = paused_until - ?1,
         held_until = held_until - ?1`,
      [aheadMs],
    );
    db.run("UPDATE marks SET value = ? WHERE name = 'delivery_clock'", [nowMs]);
  })();
}
