// Every call of the API as a step of a walk may make it. A call is made from a few numbers (fast-check shrinks them) and
// from what the walk knows: ids of the caller's own or of somebody else's, which must be found by nobody but their owner.

import { asAdmin, type Kind, type Tenant } from "./tenant.ts";

/** What decides a step: `own`: whether it names things of the caller's; `nth` and `more` choose among them. */
export type Draw = {
  readonly own: boolean;
  readonly nth: number;
  readonly more: number;
  readonly flag: boolean;
  /** Anything at all, for what is to be refused. */
  readonly text: string;
};

/** Who calls, whose things exist, and where webhooks may go. */
export type Scene = { readonly caller: Tenant; readonly other: Tenant; readonly receiverUrl: string };

export type Asked = {
  readonly method: string;
  readonly path: string;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** With this key, not the caller's. */
  readonly key?: string;
  /** As the operator, who may see all organizations. */
  readonly isAdmin?: boolean;
  /** It names a thing of the other's in its path: it must not succeed. */
  readonly isForeign?: boolean;
};

const NOBODYS = "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52";
const TYPES = ["order.created", "order.paid", "user:made", "a", "order/deep-1_x"];
const PATTERNS = ["*", "order.*", "user:made", "order.created"];
/** The same in both organizations: a dedup id is each organization's own. */
const DEDUP_IDS = ["d1", "d2", "d3", "d4 with spaces", "ü"];
const STATUSES = ["pending", "failed", "delivered", "dead_letter", "cancelled"];

const choose = <T>(list: readonly [T, ...T[]] | readonly T[], nth: number): T => list[nth % list.length] as T;
const json = (method: string, path: string, value: unknown): Asked => ({
  method,
  path,
  body: JSON.stringify(value),
  headers: { "content-type": "application/json" },
});
const get = (path: string): Asked => ({ method: "GET", path });

/** A thing of the kind, by its owner; of nobody when there is none. */
function thing(kind: Kind, { caller, other }: Scene, { own, nth }: Draw): { id: string; isForeign: boolean } {
  const pool = (own ? caller : other).pools[kind];
  return pool.length === 0 ? { id: NOBODYS, isForeign: true } : { id: choose(pool, nth), isForeign: !own };
}

/** A call about one thing in its path. */
function about(
  kind: Kind,
  method: string,
  path: (id: string) => string,
  body?: (d: Draw, s: Scene) => unknown,
) {
  return (draw: Draw, scene: Scene): Asked => {
    const { id, isForeign } = thing(kind, scene, draw);
    const asked = body === undefined ? { method, path: path(id) } : json(method, path(id), body(draw, scene));
    return { ...asked, isForeign };
  };
}

function newEvent({ nth, more, flag }: Draw, { caller }: Scene) {
  return {
    type: choose(TYPES, nth),
    payload: { marker: caller.marker, nth, text: "\u2028 ünï \ud83d\ude00" },
    ...(nth % 3 === 0 && { dedup_id: choose(DEDUP_IDS, more) }),
    ...(flag && more % 4 === 0 && { deliver_at: new Date(Date.now() + 3_600_000).toISOString() }),
  };
}

function cloudEvent({ nth, more }: Draw, { caller }: Scene) {
  return {
    specversion: "1.0",
    id: String(more),
    source: "/walk",
    type: choose(TYPES, nth),
    data: { marker: caller.marker },
  };
}

function newEndpoint({ nth, more, flag }: Draw, { caller, receiverUrl }: Scene) {
  return {
    url: `${receiverUrl}/${caller.marker}/${choose(["ok", "fails", "gone"], nth)}`,
    event_types: [choose(PATTERNS, more)],
    description: `Endpoint of ${caller.marker}`,
    headers: { [`x-${caller.marker}`]: caller.marker },
    ordered: flag,
    ...(more % 5 === 0 && { max_in_flight: 1 + (nth % 8) }),
  };
}

/** Some ids of the caller's own and, when the draw says so, of the other's among them. */
function someEvents({ own, nth, more }: Draw, { caller, other }: Scene): string[] {
  const pools = own ? [caller.pools.event] : [caller.pools.event, other.pools.event];
  const ids = pools.flatMap((pool) => (pool.length === 0 ? [] : [choose(pool, nth), choose(pool, more)]));
  return [...new Set([...ids, NOBODYS])];
}

function inboxQuery({ own, nth, more, flag }: Draw, { caller, other }: Scene): string {
  const cursors = (own ? caller : other).pools.cursor;
  const query = new URLSearchParams({
    limit: String(1 + (nth % 5)),
    ...(more % 3 === 0 && { status: choose([...STATUSES.slice(0, 4), "undelivered"], more) }),
    ...(more % 4 === 1 && { type: choose(PATTERNS, nth) }),
    ...(flag && { order: "asc" }),
    ...(more % 5 === 2 && cursors.length > 0 && { cursor: choose(cursors, nth) }),
  });
  return `?${query}`;
}

function listQuery({ own, nth, more }: Draw, { caller, other }: Scene): string {
  const cursors = (own ? caller : other).pools.cursor;
  const cursor = more % 3 === 0 && cursors.length > 0 ? `&cursor=${choose(cursors, nth)}` : "";
  return `?limit=${1 + (nth % 4)}${cursor}`;
}

function deliveriesQuery(draw: Draw, scene: Scene): string {
  const { nth, more } = draw;
  const filters = [
    `&event_id=${thing("event", scene, draw).id}`,
    `&endpoint_id=${thing("endpoint", scene, draw).id}`,
    `&status=${choose(STATUSES, nth)}`,
    "",
  ];
  return listQuery(draw, scene) + choose(filters, more);
}

const leased = (draw: Draw, scene: Scene) => ({
  lease_id: thing("lease", scene, draw).id,
  ...(draw.flag && { event_ids: someEvents(draw, scene) }),
});

const binaryCloudEvent = (draw: Draw, scene: Scene): Asked => {
  const { id, source, type, data } = cloudEvent(draw, scene);
  const headers = { "ce-specversion": "1.0", "ce-id": id, "ce-source": source, "ce-type": type };
  return {
    ...json("POST", "/api/events", data),
    headers: { ...headers, "content-type": "application/json" },
  };
};

/** A key that the caller made; it may have fewer scopes, or be deleted by now. */
const otherKey = ({ nth }: Draw, { caller }: Scene): { key?: string } => {
  const keys = [...caller.otherKeys.values()];
  return keys.length === 0 ? {} : { key: choose(keys, nth) };
};

const admin = (asked: Asked): Asked => ({
  ...asked,
  isAdmin: true,
  headers: { ...asked.headers, ...asAdmin },
});
const organization = ({ caller, other }: Scene, { own }: Draw) => (own ? caller : other).id;

const STRANGE_PATHS = [
  "GET /api/events/?",
  "GET /api/events/?/explain",
  "DELETE /api/events/?",
  "POST /api/ack/?",
  "GET /api/endpoints/?",
  "DELETE /api/endpoints/?",
  "POST /api/endpoints/?/enable",
  "GET /api/deliveries/?",
  "POST /api/deliveries/?/retry",
  "GET /api/replays/?",
  "DELETE /api/keys/?",
  "GET /api/inbox?cursor=?",
  "GET /api/inbox?type=?",
  "GET /api/deliveries?since=?",
  "GET /api/endpoints?limit=?",
];
const BODY_PATHS = [
  "/api/events",
  "/api/events/batch",
  "/api/events/delete",
  "/api/ack",
  "/api/inbox/lease",
  "/api/inbox/ack",
  "/api/inbox/release",
  "/api/inbox/extend",
  "/api/webhook/config",
  "/api/endpoints",
  "/api/keys",
];

/** The last question mark is where the text goes. */
function strange(templates: readonly string[], nth: number, text: string): Asked {
  const [method = "", template = ""] = choose(templates, nth).split(" ");
  const at = template.lastIndexOf("?");
  return { method, path: template.slice(0, at) + text + template.slice(at + 1) };
}

/** No JSON, or JSON of another shape. */
function strangeBody({ text, nth, more }: Draw, { caller }: Scene): Asked {
  const event = JSON.stringify({ type: text, payload: caller.marker });
  const texts = [text, JSON.stringify(text), event, `[${more}]`, "{}", "null"];
  const headers = { "content-type": "application/json" };
  return { method: "POST", path: choose(BODY_PATHS, nth), body: choose(texts, more), headers };
}

type Make = (draw: Draw, scene: Scene) => Asked;

/** By a name for the log of a walk. Those that are likelier than others stand here more than once, by weight. */
export const CALLS: Readonly<Record<string, readonly [weight: number, make: Make]>> = {
  sendEvent: [8, (d, s) => json("POST", "/api/events", newEvent(d, s))],
  sendWithIdempotencyKey: [
    1,
    (d, s) => {
      const asked = json("POST", "/api/events", { type: choose(TYPES, d.nth), payload: s.caller.marker });
      return { ...asked, headers: { ...asked.headers, "idempotency-key": `d${d.more % 4}` } };
    },
  ],
  sendCloudEvent: [
    1,
    (d, s) => ({
      ...json("POST", "/api/events", cloudEvent(d, s)),
      headers: { "content-type": "application/cloudevents+json" },
    }),
  ],
  sendBinaryCloudEvent: [1, binaryCloudEvent],
  sendEvents: [
    3,
    (d, s) => {
      const events = Array.from({ length: 1 + (d.nth % 4) }, (_, i) => newEvent({ ...d, nth: d.nth + i }, s));
      return json("POST", "/api/events/batch", {
        events: d.flag ? [...events, { type: "no payload" }] : events,
      });
    },
  ],
  sendCloudEvents: [
    1,
    (d, s) => ({
      ...json("POST", "/api/events/batch", [cloudEvent(d, s), cloudEvent({ ...d, more: d.more + 1 }, s)]),
      headers: { "content-type": "application/cloudevents-batch+json" },
    }),
  ],
  getEvent: [3, about("event", "GET", (id) => `/api/events/${id}`)],
  explainEvent: [2, about("event", "GET", (id) => `/api/events/${id}/explain`)],
  deleteEvent: [1, about("event", "DELETE", (id) => `/api/events/${id}`)],
  deleteEvents: [1, (d, s) => json("POST", "/api/events/delete", { event_ids: someEvents(d, s) })],
  ackEvent: [2, about("event", "POST", (id) => `/api/ack/${id}`)],
  ackEvents: [2, (d, s) => json("POST", "/api/ack", { event_ids: someEvents(d, s) })],
  inbox: [4, (d, s) => get(`/api/inbox${inboxQuery(d, s)}`)],
  lease: [
    3,
    ({ nth, more, flag }) =>
      json("POST", "/api/inbox/lease", {
        max: 1 + (nth % 5),
        lease_seconds: 600,
        ...(flag && { type: choose(PATTERNS, more) }),
      }),
  ],
  ackLease: [2, (d, s) => json("POST", "/api/inbox/ack", leased(d, s))],
  releaseLease: [
    2,
    (d, s) => json("POST", "/api/inbox/release", { ...leased(d, s), delay_seconds: d.more % 2 }),
  ],
  extendLease: [
    1,
    (d, s) => json("POST", "/api/inbox/extend", { lease_id: thing("lease", s, d).id, lease_seconds: 900 }),
  ],
  setWebhook: [1, (d, s) => json("POST", "/api/webhook/config", { webhook_url: newEndpoint(d, s).url })],
  showWebhook: [1, () => get("/api/webhook/config")],
  deleteWebhook: [1, () => ({ method: "DELETE", path: "/api/webhook/config" })],
  createEndpoint: [3, (d, s) => json("POST", "/api/endpoints", newEndpoint(d, s))],
  listEndpoints: [2, (d, s) => get(`/api/endpoints${listQuery(d, s)}`)],
  showEndpoint: [2, about("endpoint", "GET", (id) => `/api/endpoints/${id}`)],
  changeEndpoint: [
    2,
    about(
      "endpoint",
      "PATCH",
      (id) => `/api/endpoints/${id}`,
      (d, s) => {
        const { url: _, ...changes } = newEndpoint(d, s);
        return changes;
      },
    ),
  ],
  deleteEndpoint: [1, about("endpoint", "DELETE", (id) => `/api/endpoints/${id}`)],
  enableEndpoint: [1, about("endpoint", "POST", (id) => `/api/endpoints/${id}/enable`)],
  disableEndpoint: [1, about("endpoint", "POST", (id) => `/api/endpoints/${id}/disable`)],
  testEndpoint: [1, about("endpoint", "POST", (id) => `/api/endpoints/${id}/test`)],
  rotateSecret: [
    1,
    about(
      "endpoint",
      "POST",
      (id) => `/api/endpoints/${id}/rotate-secret`,
      ({ more }) => ({ overlap_seconds: more }),
    ),
  ],
  startReplay: [
    2,
    about(
      "endpoint",
      "POST",
      (id) => `/api/endpoints/${id}/replay`,
      ({ flag, nth }) => ({
        since: "2020-01-01T00:00:00Z",
        ...(flag ? { missing_only: true } : { status: [choose(STATUSES, nth)] }),
      }),
    ),
  ],
  showReplay: [1, about("replay", "GET", (id) => `/api/replays/${id}`)],
  listDeliveries: [3, (d, s) => get(`/api/deliveries${deliveriesQuery(d, s)}`)],
  showDelivery: [2, about("delivery", "GET", (id) => `/api/deliveries/${id}`)],
  retryDelivery: [2, about("delivery", "POST", (id) => `/api/deliveries/${id}/retry`)],
  keyInfo: [2, () => get("/api/keys")],
  createKey: [
    1,
    ({ nth, flag }, { caller }) =>
      json("POST", "/api/keys", {
        name: `Key of ${caller.marker}`,
        scopes: flag ? ["publish", "consume", "manage"] : [choose(["publish", "consume", "manage"], nth)],
      }),
  ],
  deleteKey: [1, about("key", "DELETE", (id) => `/api/keys/${id}`)],
  rotateKey: [
    1,
    ({ more }) => json("POST", "/api/keys/rotate", more % 2 === 0 ? {} : { overlap_seconds: 60 }),
  ],
  inboxWithOtherKey: [2, (d, s) => ({ ...get(`/api/inbox${inboxQuery(d, s)}`), ...otherKey(d, s) })],
  endpointsWithOtherKey: [1, (d, s) => ({ ...get("/api/endpoints"), ...otherKey(d, s) })],
  sendWithOtherKey: [1, (d, s) => ({ ...json("POST", "/api/events", newEvent(d, s)), ...otherKey(d, s) })],
  listOrganizations: [1, ({ nth }) => admin(get(`/api/admin/organizations?limit=${1 + (nth % 9)}`))],
  showOrganization: [1, (d, s) => admin(get(`/api/admin/organizations/${organization(s, d)}`))],
  showOrganizationWithKey: [
    1,
    (d, s) => ({ ...get(`/api/admin/organizations/${organization(s, d)}`), isForeign: true }),
  ],
  eraseOrganizationWithKey: [
    1,
    (d, s) => ({ method: "DELETE", path: `/api/admin/organizations/${organization(s, d)}`, isForeign: true }),
  ],
  exportWithKey: [
    1,
    (d, s) => ({ ...get(`/api/admin/organizations/${organization(s, d)}/export`), isForeign: true }),
  ],
  auditWithKey: [
    1,
    (d, s) => ({ ...get(`/api/admin/audit?organization_id=${organization(s, d)}`), isForeign: true }),
  ],
  changeOrganization: [
    1,
    (d, s) =>
      admin(
        json("PATCH", `/api/admin/organizations/${organization(s, d)}`, d.flag ? { tier: "enterprise" } : {}),
      ),
  ],
  audit: [1, (d, s) => admin(get(`/api/admin/audit?limit=5&organization_id=${organization(s, d)}`))],
  health: [1, ({ nth }) => get(choose(["/health", "/health/live", "/health/ready"], nth))],
  metrics: [1, () => get("/metrics")],
  strangeId: [2, ({ text, nth }) => strange(STRANGE_PATHS, nth, encodeURIComponent(text.toWellFormed()))],
  strangeBody: [2, strangeBody],
  wrongMethod: [
    1,
    (d) => ({ method: choose(["PUT", "PATCH"], d.nth), path: choose(["/api/inbox", "/health"], d.more) }),
  ],
  unknownPath: [1, ({ nth }) => get(choose(["/api", "/api/events/x/y", "/api/inboxes", "/.env"], nth))],
};
