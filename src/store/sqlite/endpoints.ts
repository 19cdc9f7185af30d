// Writes to endpoints. A deleted endpoint stays as a row while deliveries tell of it. What concerns all that waits for
// an endpoint, which may be a million rows, is done in small steps (endpoint_steps.ts).

import type { Endpoint, EndpointSettings } from "../store.ts";
import type { Context } from "./context.ts";
import { type EndpointRow, type EndpointSecrets, endpointOfRow } from "./rows.ts";

/** Fan-out costs a row per endpoint in the transaction that the caller of an ingest waits for. */
export const ENDPOINTS_MAX = 1_000;
/** Old secrets that still sign, when a secret is rotated again and again within their overlap. */
const OLD_SECRETS_MAX = 4;

type StoredRow = EndpointRow & { secrets: string; aging: number };

/** Nothing keeps it from being tried. */
const HEALTHY: Partial<StoredRow> = {
  ...{ failures: 0, failing_since: null, paused_until: null, held_until: null, held_for: null },
};
type Named = { readonly org: number; readonly id: string };
type New = Named & { readonly signingSecret: string } & EndpointSettings;

/** `aging`: what waits must be put in the order of age first, by steps. */
export type Changed = { readonly endpoint: Endpoint; readonly aging: boolean };

/** The writer's way to an endpoint's row: found by its owner and id, changed column by column, its secrets sealed. */
export function prepareEndpointRows(ctx: Context) {
  const find = ctx.db.prepare<StoredRow, [number, string]>(
    "SELECT * FROM endpoints WHERE org = +? AND id = +? AND deleted_at IS NULL",
  );
  const changes = new Map<string, ReturnType<typeof prepareChange>>();
  const prepareChange = (columns: readonly string[]) =>
    ctx.db.prepare<StoredRow, (string | number | null)[]>(
      `UPDATE endpoints SET ${columns.map((column) => `${column} = ?`).join(", ")} WHERE endpoint = +? RETURNING *`,
    );
  return {
    find: ({ org, id }: Named): StoredRow | null => find.get(org, id),
    /** Sets these columns, and tells everybody who remembers the endpoint. */
    change(row: { org: number; endpoint: number }, values: Partial<StoredRow>): Changed {
      const columns = Object.keys(values);
      const key = columns.join();
      const statement = changes.get(key) ?? prepareChange(columns);
      changes.set(key, statement);
      const changed = statement.get(...Object.values(values), row.endpoint);
      if (!changed) throw new Error("an endpoint that was just read is gone");
      ctx.fanOut.forget(row.org);
      ctx.effects.endpoints.push(row.endpoint);
      return { endpoint: endpointOfRow(changed), aging: changed.aging !== 0 };
    },
    secretsOf(row: { id: string; secrets: string }): EndpointSecrets {
      const text = ctx.box.open(row.secrets, row.id);
      if (text === null) throw new Error("an endpoint's secrets do not open");
      return JSON.parse(text) as EndpointSecrets;
    },
    sealed: (id: string, secrets: EndpointSecrets): string => ctx.box.seal(JSON.stringify(secrets), id),
  };
}

type Rows = ReturnType<typeof prepareEndpointRows>;

function prepareInsert(ctx: Context, rows: Rows) {
  const insert = ctx.db.prepare<EndpointRow, (string | number | null)[]>(
    `INSERT INTO endpoints (id, org, name, url, description, event_types, secrets, header_names, max_in_flight,
       rate_limit_per_second, ordered, timeout_ms, created_at, updated_at)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?13) RETURNING *`,
  );
  return (op: New, name: string | null): Endpoint => {
    const secrets = { signing: [{ secret: op.signingSecret, expires_at: null }], headers: op.headers };
    const row = insert.get(
      ...[op.id, op.org, name, op.url, op.description, JSON.stringify(op.eventTypes)],
      ...[rows.sealed(op.id, secrets), JSON.stringify(Object.keys(op.headers)), op.maxInFlight],
      ...[op.rateLimitPerSecond, op.ordered ? 1 : 0, op.timeoutMs, ctx.nowMs],
    );
    if (!row) throw new Error("an insert returned no row");
    ctx.fanOut.forget(op.org);
    ctx.effects.endpoints.push(row.endpoint);
    return endpointOfRow(row);
  };
}

export function prepareCreateEndpoint(ctx: Context): (op: New) => Endpoint | "too_many" {
  const insert = prepareInsert(ctx, prepareEndpointRows(ctx));
  const count = ctx.db.prepare<{ n: number }, [number]>(
    "SELECT count(*) AS n FROM endpoints WHERE org = +? AND deleted_at IS NULL",
  );
  return (op) => ((count.get(op.org)?.n ?? 0) >= ENDPOINTS_MAX ? "too_many" : insert(op, null));
}

const DEFAULT_SETTINGS: Omit<EndpointSettings, "url"> = {
  description: null,
  eventTypes: ["*"],
  headers: {},
  maxInFlight: null,
  rateLimitPerSecond: null,
  ordered: false,
  timeoutMs: null,
};

/** Sets the default endpoint, for all types; one that is there keeps its identity and its secret, and is enabled. */
export function preparePutDefaultEndpoint(ctx: Context) {
  const rows = prepareEndpointRows(ctx);
  const insert = prepareInsert(ctx, rows);
  const find = ctx.db.prepare<StoredRow, [number]>(
    "SELECT * FROM endpoints WHERE org = +? AND name = 'default' AND deleted_at IS NULL",
  );
  return (op: Named & { url: string; signingSecret: string }): Changed & { signingSecret: string } => {
    const row = find.get(op.org);
    if (!row) {
      const endpoint = insert({ ...op, ...DEFAULT_SETTINGS }, "default");
      return { endpoint, aging: false, signingSecret: op.signingSecret };
    }
    const enabled = row.disabled_at === null ? {} : enabledColumns();
    if (row.disabled_at !== null || row.url !== op.url) ctx.effects.healed.push(row.endpoint);
    const values = { ...urlColumns(row, op.url), ...enabled, event_types: '["*"]', updated_at: ctx.nowMs };
    const changed = rows.change(row, values);
    return { ...changed, signingSecret: rows.secretsOf(row).signing[0]?.secret ?? "" };
  };
}

export function prepareUpdateEndpoint(ctx: Context) {
  const rows = prepareEndpointRows(ctx);
  return (op: Named & { change: Partial<EndpointSettings> }): Changed | "not_found" => {
    const row = rows.find(op);
    if (!row) return "not_found";
    const { url, eventTypes, headers, ordered, ...rest } = op.change;
    const values: Partial<StoredRow> = { updated_at: ctx.nowMs };
    if (url !== undefined) Object.assign(values, urlColumns(row, url));
    if (url !== undefined && url !== row.url) ctx.effects.healed.push(row.endpoint);
    if (eventTypes !== undefined) values.event_types = JSON.stringify(eventTypes);
    if (headers !== undefined) {
      values.secrets = rows.sealed(row.id, { ...rows.secretsOf(row), headers });
      values.header_names = JSON.stringify(Object.keys(headers));
    }
    if (ordered !== undefined) values.ordered = ordered ? 1 : 0;
    // An ordered endpoint's line is in the order of age; another's retries stand where their time is.
    if (ordered && row.ordered === 0) values.aging = 1;
    if (rest.description !== undefined) values.description = rest.description;
    if (rest.maxInFlight !== undefined) values.max_in_flight = rest.maxInFlight;
    if (rest.rateLimitPerSecond !== undefined) values.rate_limit_per_second = rest.rateLimitPerSecond;
    if (rest.timeoutMs !== undefined) values.timeout_ms = rest.timeoutMs;
    return rows.change(row, values);
  };
}

/** The integer key of the deleted endpoint, whose waiting deliveries the caller cancels by steps. */
export function prepareDeleteEndpoint(ctx: Context): (op: Named) => number | "not_found" {
  const rows = prepareEndpointRows(ctx);
  return (op) => {
    const row = rows.find(op);
    if (!row) return "not_found";
    const secrets = rows.sealed(row.id, { signing: [], headers: {} });
    rows.change(row, { deleted_at: ctx.nowMs, secrets });
    return row.endpoint;
  };
}

/** Enables it, or closes the breaker of one that is enabled; nothing is remembered of its failures. */
export function prepareEnableEndpoint(ctx: Context): (op: Named) => Changed | "not_found" {
  const rows = prepareEndpointRows(ctx);
  return (op) => {
    const row = rows.find(op);
    if (!row) return "not_found";
    if (row.disabled_at === null && row.failures === 0 && row.held_for === null) {
      return { endpoint: endpointOfRow(row), aging: row.aging !== 0 };
    }
    ctx.effects.healed.push(row.endpoint);
    return rows.change(row, { ...enabledColumns(), updated_at: ctx.nowMs });
  };
}

export function prepareDisableEndpoint(ctx: Context): (op: Named) => Changed | "not_found" {
  const rows = prepareEndpointRows(ctx);
  return (op) => {
    const row = rows.find(op);
    if (!row) return "not_found";
    if (row.disabled_at !== null) return { endpoint: endpointOfRow(row), aging: false };
    const disabled = { disabled_at: ctx.nowMs, disabled_reason: "manual" };
    return rows.change(row, { ...disabled, updated_at: ctx.nowMs });
  };
}

/** The new secret signs from now on; the ones before sign besides until their overlap ends. */
export function prepareRotateSecret(ctx: Context) {
  const rows = prepareEndpointRows(ctx);
  return (op: Named & { signingSecret: string; oldExpiresAtMs: number }): Changed | "not_found" => {
    const row = rows.find(op);
    if (!row) return "not_found";
    const { signing, headers } = rows.secretsOf(row);
    const old = signing
      .map(({ secret, expires_at }) => ({ secret, expires_at: expires_at ?? op.oldExpiresAtMs }))
      .filter(({ expires_at }) => expires_at > ctx.nowMs)
      .slice(0, OLD_SECRETS_MAX);
    const secrets = { signing: [{ secret: op.signingSecret, expires_at: null }, ...old], headers };
    return rows.change(row, { secrets: rows.sealed(row.id, secrets), updated_at: ctx.nowMs });
  };
}

function enabledColumns(): Partial<StoredRow> {
  return { disabled_at: null, disabled_reason: null, aging: 1, ...HEALTHY };
}

/** Another receiver has no history. */
function urlColumns(row: StoredRow, url: string): Partial<StoredRow> {
  return row.url === url ? { url } : { url, ...HEALTHY };
}
