// The rows of a fixture: every table, every state, as users of the API bring them about. Two runs, since a schedule of
// retries is the server's: one in which what fails is a dead letter at once, and one in which it waits.

import { type Call, callerOf, until } from "./fixture_call.ts";

/** Ids by what they are for. */
export type Made = {
  readonly keys: { readonly acme: string; readonly bolt: string; readonly idle: string };
  readonly organizations: Readonly<Record<string, string>>;
  readonly endpoints: Readonly<Record<string, string>>;
  readonly events: Readonly<Record<string, string>>;
  readonly replay: string;
  readonly lease: string;
  readonly signingSecret: string;
};

type First = Omit<Made, "lease">;

/** Sealed in blocks and runs (seal.ts): so many, and some more that are not. */
const BULK_EVENTS = 2_000;
const DEDUP_EVENTS = 600;
const GIVEN_UP_LEASES = 20;
const DAY_MS = 86_400_000;
const APPEAR_MS = 300;

export async function firstRun(url: string, receiver: string): Promise<First> {
  const call = callerOf(url);
  const organizations: Record<string, string> = {};
  const keys: Record<string, string> = {};
  for (const name of ["acme", "bolt", "idle", "gone"]) {
    const made = await call("POST", "/api/keys/generate", {
      organization_name: `${name} & Söhne`,
      tier: "enterprise",
    });
    organizations[name] = made.organization_id;
    keys[name] = made.api_key;
  }
  const key = keys.acme ?? "";
  await moreKeys(call, key);
  const { endpoints, signingSecret } = await makeEndpoints(call, key, receiver);
  const events: Record<string, string> = {};
  events.delivered = await send(call, key, { type: "ok.first", payload: { n: 1.0, text: "é\u2028" } });
  events.dead = await send(call, key, { type: "dead.letter", payload: [1, "2", null] });
  events.gone = await send(call, key, { type: "gone.now", payload: null });
  events.ofDeleted = await send(call, key, { type: "deleted.soon", payload: 1 });
  await settled(call, key, events.delivered, "delivered");
  await settled(call, key, events.dead, "dead_letter");
  await until(
    () => call("GET", `/api/endpoints/${endpoints.gone}`, undefined, key),
    ({ status }) => status === "disabled",
  );
  await settled(call, key, events.ofDeleted, "delivered");
  await call("DELETE", `/api/endpoints/${endpoints.deleted}`, undefined, key);
  const replay = await replayDead(call, key, endpoints.dead ?? "");
  await bulk(call, keys.bolt ?? "");
  await call("PATCH", `/api/admin/organizations/${organizations.bolt}`, { rate_limit_per_minute: 12_345 });
  await call("PATCH", `/api/admin/organizations/${organizations.idle}`, { disabled: true });
  await send(call, keys.gone ?? "", { type: "t", payload: "to be erased" });
  await call("DELETE", `/api/admin/organizations/${organizations.gone}`);
  const kept = { acme: key, bolt: keys.bolt ?? "", idle: keys.idle ?? "" };
  return { keys: kept, organizations, endpoints, events, replay, signingSecret };
}

/** What waits, and what consumers do. */
export async function secondRun(url: string, first: First): Promise<Made> {
  const call = callerOf(url);
  const key = first.keys.acme;
  const events: Record<string, string> = { ...first.events };
  events.failed = await send(call, key, { type: "fail.once", payload: 1 });
  events.paused = await send(call, key, { type: "later.please", payload: 1 });
  events.held = await send(call, key, { type: "held.back", payload: 1 });
  for (const name of ["failed", "paused"]) await settled(call, key, events[name] ?? "", "failed");
  events.acked = await send(call, key, { type: "consumed.a", payload: 1, dedup_id: "acked" });
  await call("POST", `/api/ack/${events.acked}`, undefined, key);
  events.cancelled = await send(call, key, { type: "held.cancelled", payload: 1 });
  await call("POST", `/api/ack/${events.cancelled}`, undefined, key);
  await retriedAfterAck(call, key, events);
  const gone = await send(call, key, { type: "consumed.b", payload: "gone", dedup_id: "deleted" });
  events.tombstone = gone;
  await call("DELETE", `/api/events/${gone}`, undefined, key);
  events.givenUp = await giveUp(call, key);
  const lease = await leases(call, key, events);
  await schedule(call, key, events);
  return { ...first, events, lease };
}

async function moreKeys(call: Call, key: string): Promise<void> {
  const expires_at = new Date(Date.now() + 20_000 * DAY_MS).toISOString();
  const publisher = { name: "publisher", scopes: ["publish"], expires_at, environment: "test" };
  await call("POST", "/api/keys", publisher, key);
  const rotated = await call("POST", "/api/keys", { name: "manager" }, key);
  await call("POST", "/api/keys/rotate", { overlap_seconds: 604_800 }, rotated.api_key);
  const deleted = await call("POST", "/api/keys", { name: "deleted" }, key);
  await call("DELETE", `/api/keys/${deleted.key_id}`, undefined, key);
}

async function makeEndpoints(call: Call, key: string, receiver: string) {
  const endpoints: Record<string, string> = {};
  const hook = await call("POST", "/api/webhook/config", { webhook_url: `${receiver}/ok` }, key);
  endpoints.default = hook.endpoint_id;
  await call("PATCH", `/api/endpoints/${hook.endpoint_id}`, { event_types: ["ok.*"] }, key);
  const settings = {
    dead: {
      event_types: ["dead.*"],
      description: "Für alles, was stirbt",
      headers: { Authorization: "Bearer secret of the receiver", "X-Own": "1" },
      max_in_flight: 3,
      rate_limit_per_second: 50,
      timeout_ms: 2_500,
    },
    fail: { event_types: ["fail.*"], ordered: true },
    later: { event_types: ["later.*"] },
    gone: { event_types: ["gone.*"] },
    held: { event_types: ["held.*", "exact"] },
    deleted: { event_types: ["deleted.*"] },
  };
  let signingSecret = "";
  for (const [name, own] of Object.entries(settings)) {
    const made = await call("POST", "/api/endpoints", { url: `${receiver}/${name}`, ...own }, key);
    endpoints[name] = made.id;
    if (name === "held") signingSecret = made.signing_secret;
  }
  await call("POST", `/api/endpoints/${endpoints.held}/disable`, undefined, key);
  await call("POST", `/api/endpoints/${endpoints.dead}/rotate-secret`, { overlap_seconds: 86_400 }, key);
  return { endpoints, signingSecret };
}

async function replayDead(call: Call, key: string, endpoint: string): Promise<string> {
  const since = new Date(Date.now() - DAY_MS).toISOString();
  const { id } = await call(
    "POST",
    `/api/endpoints/${endpoint}/replay`,
    { since, event_types: ["dead.*"] },
    key,
  );
  await until(
    () => call("GET", `/api/replays/${id}`, undefined, key),
    ({ status }) => status === "completed",
  );
  await until(
    () => call("GET", `/api/deliveries?endpoint_id=${endpoint}`, undefined, key),
    ({ deliveries }) => deliveries.every((one: { status: string }) => one.status === "dead_letter"),
  );
  return id;
}

async function bulk(call: Call, key: string): Promise<void> {
  for (let n = 0; n < BULK_EVENTS; n += 1_000) {
    const events = Array.from({ length: 1_000 }, (_, i) => ({
      type: "bulk",
      payload: n + i,
      ...(n + i < DEDUP_EVENTS ? { dedup_id: `bulk-${n + i}` } : {}),
    }));
    await call("POST", "/api/events/batch", { events }, key);
  }
  // Each pause after a group seals one index, and there are three.
  for (let n = 0; n < 10; n++) await send(call, key, { type: "tail", payload: n, dedup_id: `tail-${n}` });
}

async function retriedAfterAck(call: Call, key: string, events: Record<string, string>): Promise<void> {
  const id = await send(call, key, { type: "held.acked", payload: 1 });
  await call("POST", `/api/ack/${id}`, undefined, key);
  const { deliveries } = await call("GET", `/api/deliveries?event_id=${id}`, undefined, key);
  await call("POST", `/api/deliveries/${deliveries[0].id}/retry`, undefined, key);
  events.ackedAndWaiting = id;
}

async function giveUp(call: Call, key: string): Promise<string> {
  const id = await send(call, key, { type: "poison", payload: 1 });
  for (let n = 0; n < GIVEN_UP_LEASES; n++) {
    const { lease_id } = await call("POST", "/api/inbox/lease", { type: "poison" }, key);
    await call("POST", "/api/inbox/release", { lease_id }, key);
  }
  await call("POST", "/api/inbox/lease", { type: "poison" }, key);
  return id;
}

/** One that is out, one released, one whose events are all acknowledged; the id of the first. */
async function leases(call: Call, key: string, events: Record<string, string>): Promise<string> {
  events.leased = await send(call, key, { type: "job.leased", payload: 1 });
  const { lease_id } = await call(
    "POST",
    "/api/inbox/lease",
    { type: "job.leased", lease_seconds: 3600 },
    key,
  );
  events.released = await send(call, key, { type: "job.released", payload: 1 });
  const released = await call("POST", "/api/inbox/lease", { type: "job.released" }, key);
  await call("POST", "/api/inbox/release", { lease_id: released.lease_id }, key);
  events.consumed = await send(call, key, { type: "job.done", payload: 1 });
  const done = await call("POST", "/api/inbox/lease", { type: "job.done" }, key);
  await call("POST", "/api/inbox/ack", { lease_id: done.lease_id }, key);
  return lease_id;
}

async function schedule(call: Call, key: string, events: Record<string, string>): Promise<void> {
  const at = (ms: number) => new Date(Date.now() + ms).toISOString();
  events.hidden = await send(call, key, { type: "held.hidden", payload: 1, deliver_at: at(80 * DAY_MS) });
  events.appeared = await send(call, key, { type: "appears", payload: 1, deliver_at: at(APPEAR_MS) });
  await until(
    () => call("GET", "/api/inbox?type=appears", undefined, key),
    (page) => page.events.length === 1,
  );
}

async function send(call: Call, key: string, event: object): Promise<string> {
  return (await call("POST", "/api/events", event, key)).id;
}

async function settled(call: Call, key: string, id: string, status: string): Promise<void> {
  await until(
    () => call("GET", `/api/events/${id}`, undefined, key),
    (event) => event.status === status,
  );
}
