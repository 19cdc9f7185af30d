// Writes to endpoints. A deleted endpoint stays as a row while deliveries tell of it; what waited is cancelled in
// small steps, since it may be a million rows.

import type { Endpoint } from "../store.ts";
import type { Context } from "./context.ts";
import { prepareIndexStatus } from "./index_status.ts";
import { type EndpointRow, endpointOfRow } from "./rows.ts";

type Put = { org: number; id: string; url: string; signingSecret: string };

/** Sets the default endpoint; setting it again keeps its identity and enables it when it was disabled. */
export function preparePutDefaultEndpoint(ctx: Context): (op: Put) => Endpoint {
  const put = ctx.db.prepare<EndpointRow, [string, number, string, string, number, number]>(
    `INSERT INTO endpoints (id, org, name, url, signing_secret, created_at, updated_at)
     VALUES (?1, ?2, 'default', ?3, ?4, ?5, ?6)
     ON CONFLICT (org, name) WHERE deleted_at IS NULL AND name IS NOT NULL DO UPDATE SET
       url = excluded.url, updated_at = excluded.updated_at, disabled_at = NULL, disabled_reason = NULL
     RETURNING *`,
  );
  return ({ org, id, url, signingSecret }) => {
    const row = put.get(id, org, url, signingSecret, ctx.nowMs, ctx.nowMs);
    if (!row) throw new Error("an upsert returned no row");
    ctx.fanOut.forget(org);
    ctx.effects.endpoints.push(row.endpoint);
    return endpointOfRow(row);
  };
}

/** The integer key of the deleted endpoint, whose waiting deliveries the caller cancels by steps; null: none. */
export function prepareDeleteDefaultEndpoint(ctx: Context): (op: { org: number }) => number | null {
  const remove = ctx.db.prepare<{ endpoint: number }, [number, number]>(
    `UPDATE endpoints SET deleted_at = ? WHERE org = ? AND name = 'default' AND deleted_at IS NULL
     RETURNING endpoint`,
  );
  return ({ org }) => {
    const endpoint = remove.get(ctx.nowMs, org)?.endpoint ?? null;
    if (endpoint !== null) {
      ctx.fanOut.forget(org);
      ctx.effects.endpoints.push(endpoint);
    }
    return endpoint;
  };
}

/** Cancels up to `deliveriesMax` waiting deliveries of a deleted endpoint; `done` when none is left. */
export function prepareCancelStep(ctx: Context) {
  const indexStatus = prepareIndexStatus(ctx);
  const waiting = ctx.db.prepare<{ event: number; org: number }, [number, number, number]>(
    `SELECT d.event, e.org FROM deliveries d JOIN events e ON e.seq = d.event
     WHERE d.endpoint = ?1 AND d.queued = 1
     UNION ALL
     SELECT d.event, e.org FROM deliveries d JOIN events e ON e.seq = d.event
     WHERE d.event > ?2 AND d.endpoint = ?1 AND d.state = 0 LIMIT ?3`,
  );
  const cancel = ctx.db.prepare<void, [number, number, number]>(
    `UPDATE deliveries SET state = 3, due_at = NULL, queued = 0, updated_at = ? WHERE event = ? AND endpoint = ?`,
  );
  return ({ endpoint, deliveriesMax }: { endpoint: number; deliveriesMax: number }): { done: boolean } => {
    const rows = waiting.all(endpoint, ctx.sealed.due, deliveriesMax);
    for (const { event, org } of rows) {
      cancel.run(ctx.nowMs, event, endpoint);
      indexStatus(org, event);
    }
    return { done: rows.length < deliveriesMax };
  };
}
