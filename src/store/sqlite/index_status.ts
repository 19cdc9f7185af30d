// Keeps the inbox index true for the events that stand in it. An unsealed event has no row there yet: the
// sealing will write its status as it is by then, so a delivery within milliseconds never touches the index.

import type { Context } from "./context.ts";
import { STATUSES_SQL, statusSql } from "./status.ts";

/** Call after any change to an event's deliveries or acks, in the same transaction. */
export function prepareIndexStatus(ctx: Context): (org: number, event: number) => void {
  const statusNow = ctx.db.prepare<{ status: number }, [number]>(`SELECT ${statusSql("+?1")} AS status`);
  const remove = ctx.db.prepare<void, [number, number]>(
    `DELETE FROM inbox WHERE org = +?1 AND status IN ${STATUSES_SQL} AND event = +?2`,
  );
  const insert = ctx.db.prepare<void, [number, number, number]>(
    "INSERT INTO inbox (org, status, event) VALUES (?, ?, ?)",
  );
  const present = ctx.db.prepare<{ event: number }, [number, number, number]>(
    "SELECT event FROM inbox WHERE org = +? AND status = +? AND event = +?",
  );
  return (org, event) => {
    if (event > ctx.sealing) return;
    const status = statusNow.get(event)?.status ?? 0;
    if (present.get(org, status, event)) return;
    const { changes } = remove.run(org, event);
    if (changes > 0) insert.run(org, status, event);
  };
}
