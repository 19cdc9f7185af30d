// What a walk remembers after a call that succeeded: by the call's path, which ids its answer told, and what is true of
// the organization's events from now on.

import type { Answer } from "../help/server.ts";
import type { Asked } from "./calls.ts";
import type { Tenant } from "./tenant.ts";

// biome-ignore lint/suspicious/noExplicitAny: answers are looked into field by field
type Json = any;
type Note = (tenant: Tenant, body: Json, asked: Asked, id: string) => void;

/** In the order in which they are tried; the first that fits the "METHOD /path" is the one. */
const NOTES: readonly (readonly [RegExp, Note])[] = [
  [/^POST \/api\/events$/, (tenant, body, asked) => accepted(tenant, body.id, asked.body ?? "")],
  [
    /^POST \/api\/events\/batch$/,
    (tenant, body, asked) => {
      const given: Json[] = JSON.parse(asked.body ?? "").events ?? [];
      body.results.forEach((result: Json, at: number) => {
        if (result.status === "accepted") accepted(tenant, result.id, JSON.stringify(given[at] ?? {}));
      });
    },
  ],
  [
    /^POST \/api\/events\/delete$/,
    (tenant, body, asked) => {
      for (const id of named(asked)) if (!body.not_found.includes(id)) tenant.deleted.add(id);
    },
  ],
  [/^DELETE \/api\/events\/(.+)$/, (tenant, _, __, id) => tenant.deleted.add(id)],
  [/^POST \/api\/ack\/(.+)$/, (tenant, _, __, id) => tenant.acknowledged.add(id)],
  [/^POST \/api\/ack$/, (tenant, _, asked) => acknowledged(tenant, named(asked))],
  [/^POST \/api\/inbox\/lease$/, noteLease],
  [
    /^POST \/api\/inbox\/ack$/,
    (tenant, _, asked) => {
      const { lease_id } = JSON.parse(asked.body ?? "");
      acknowledged(tenant, tenant.leased.get(lease_id) ?? []);
    },
  ],
  [
    /^POST \/api\/endpoints$/,
    (tenant, body) => {
      tenant.remember("endpoint", body.id);
      tenant.endpoints.add(body.id);
    },
  ],
  [/^DELETE \/api\/endpoints\/(.+)$/, (tenant, _, __, id) => tenant.endpoints.delete(id)],
  [/^POST \/api\/webhook\/config$/, (tenant, body) => tenant.remember("endpoint", body.endpoint_id)],
  [/^POST \/api\/endpoints\/[^/]+\/replay$/, (tenant, body) => tenant.remember("replay", body.id)],
  [/^GET \/api\/deliveries\?/, (tenant, body) => tenant.remember("delivery", ...idsOf(body.deliveries))],
  [/^GET \/api\/events\/[^/]+$/, (tenant, body) => tenant.remember("delivery", ...idsOf(body.deliveries))],
  [
    /^POST \/api\/keys$/,
    (tenant, { key_id, api_key }) => {
      tenant.remember("key", key_id);
      tenant.otherKeys.set(key_id, api_key);
      tenant.secrets.add(key_id);
    },
  ],
  [
    /^POST \/api\/keys\/rotate$/,
    (tenant, { key_id, api_key }) => {
      tenant.key = api_key;
      tenant.secrets.add(key_id);
    },
  ],
];

export function note(tenant: Tenant, asked: Asked, answer: Answer): void {
  const call = `${asked.method} ${asked.path}`;
  const [pattern, take] = NOTES.find(([one]) => one.test(call)) ?? [];
  take?.(tenant, answer.body, asked, pattern?.exec(call)?.[1] ?? "");
}

function accepted(tenant: Tenant, id: string, event: string): void {
  tenant.accepted.add(id);
  tenant.remember("event", id);
  if (event.includes('"deliver_at"')) tenant.hidden.add(id);
}

function acknowledged(tenant: Tenant, ids: readonly string[]): void {
  for (const id of ids) tenant.acknowledged.add(id);
}

function noteLease(tenant: Tenant, { lease_id, events }: Json): void {
  if (lease_id === null) return;
  tenant.remember("lease", lease_id);
  tenant.leased.set(lease_id, idsOf(events));
}

const named = ({ body = "{}" }: Asked): readonly string[] => JSON.parse(body).event_ids ?? [];
const idsOf = (list: readonly { id: string }[]) => list.map(({ id }) => id);
