// /api/keys: an organization's first key, and then its own keys. Surprise: what changes a key is told to the
// authenticator before it is answered, so that the very next request sees it.

import { Elysia } from "elysia";
import { rfc3339 } from "../../base/time.ts";
import type { ApiKey } from "../../store/store.ts";
import {
  CreatedKey,
  GeneratedKey,
  GenerateKey,
  generatedKey,
  KEY_WARNING,
  KeyInfo,
  NewKey,
  RotatedKey,
  RotateKey,
} from "../../wire/key.ts";
import { actorOf } from "../actor.ts";
import { type Answer, type Call, json, type Kit, noContent } from "../call.ts";
import type { Deps } from "../deps.ts";
import { drawKey } from "../new_key.ts";
import { operation } from "../operation.ts";
import { HttpProblem, invalid } from "../problem.ts";
import { hook } from "../route.ts";
import { stored, timed } from "../stored.ts";
import { timeOrNull } from "../time_told.ts";

const generate = operation({
  id: "generateKey",
  tag: "Keys",
  summary: "Make an organization and its first key",
  description:
    "Makes a new organization and a key with all three scopes. The key is shown in this answer and never again. " +
    "At most 60 a minute from one address.",
  access: "admin",
  body: GenerateKey,
  answers: { 201: { description: "The organization and its key.", schema: GeneratedKey } },
  problems: ["rate_limited", "overloaded", "storage_unavailable"],
});

const info = operation({
  id: "getKeys",
  tag: "Keys",
  summary: "Show the organization and its keys",
  description: "Whose key this is, its limits, and all keys of the organization; never a key's text.",
  access: "any_key",
  answers: { 200: { description: "The organization and its keys.", schema: KeyInfo } },
});

const create = operation({
  id: "createKey",
  tag: "Keys",
  summary: "Make another key",
  description: "A key for one purpose, with the scopes that it needs and no more.",
  access: "manage",
  body: NewKey,
  bodyIsOptional: true,
  answers: { 201: { description: "The key.", schema: CreatedKey } },
  problems: ["too_many_keys", "overloaded", "storage_unavailable"],
});

const rotate = operation({
  id: "rotateKey",
  tag: "Keys",
  summary: "Exchange the calling key",
  description:
    "Makes a new key with the name, scopes and expiry of the one that calls. The old one dies now, or after " +
    "`overlap_seconds`, so that what uses it can be changed without a gap.",
  access: "manage",
  body: RotateKey,
  bodyIsOptional: true,
  answers: { 200: { description: "The new key.", schema: RotatedKey } },
  problems: ["not_found", "too_many_keys", "overloaded", "storage_unavailable"],
});

const remove = operation({
  id: "deleteKey",
  tag: "Keys",
  summary: "Delete a key",
  description:
    "It is refused from the next request on. The last key with the scope `manage` cannot be deleted.",
  access: "manage",
  params: { key_id: ["The key's public id.", "A1b2C3"] },
  answers: { 204: { description: "It is deleted." } },
  problems: ["not_found", "last_manage_key", "overloaded", "storage_unavailable"],
});

export function keyRoutes(kit: Kit, deps: Deps) {
  return new Elysia()
    .post(
      "/api/keys/generate",
      kit.handle(generate, (call) => generateKey(kit, deps, call)),
      hook(generate),
    )
    .get(
      "/api/keys",
      kit.handle(info, (call) => showKeys(deps, call)),
      hook(info),
    )
    .post(
      "/api/keys",
      kit.handle(create, (call) => createKey(kit, deps, call)),
      hook(create),
    )
    .post(
      "/api/keys/rotate",
      kit.handle(rotate, (call) => rotateKey(kit, deps, call)),
      hook(rotate),
    )
    .delete(
      "/api/keys/:key_id",
      kit.handle(remove, (call) => deleteKey(kit, deps, call)),
      hook(remove),
    );
}

async function generateKey(kit: Kit, deps: Deps, call: Call<typeof generate>): Promise<Answer> {
  const address = kit.addressOf(call.request);
  const { store, metrics, log } = deps;
  const { body, requestId } = call;
  takeFromAddress(deps, address);
  const { apiKey, keyId, secretHash } = await drawKey(deps, "live", address);
  const name = body.organization_name ?? body.org_name ?? "";
  const input = { name, tier: body.tier, key: { keyId, secretHash, ...FIRST_KEY } };
  const make = () => store.createOrganization(input, actorOf(kit, deps, call));
  const organization = stored(await timed(metrics.db.keys, make));
  log.info({ request_id: requestId, organization_id: organization.id, key_id: keyId }, "organization made");
  return json(201, generatedKey(organization, { apiKey, keyId }));
}

function showKeys({ store, metrics }: Deps, { principal }: Call<typeof info>): Answer {
  const { org, organization } = principal;
  const keys = timed(metrics.db.keys, () => store.keysOf(org));
  return json(200, {
    organization_id: organization.id,
    organization_name: organization.name,
    tier: organization.tier,
    rate_limit_per_minute: organization.rateLimitPerMinute,
    webhook_url: store.defaultEndpoint(org)?.url ?? null,
    created_at: rfc3339(organization.createdAtMs),
    updated_at: rfc3339(organization.updatedAtMs),
    keys: keys.map(keyTold),
  });
}

async function createKey(kit: Kit, deps: Deps, call: Call<typeof create>): Promise<Answer> {
  const { store, metrics, log } = deps;
  const { body, principal, nowMs, requestId } = call;
  const { org, organization } = principal;
  const { name = null, scopes, expires_at: expiresAtMs = null } = body;
  if (expiresAtMs !== null && expiresAtMs <= nowMs) {
    throw invalid("/expires_at", "It must be in the future.");
  }
  const { apiKey, keyId, secretHash } = await drawKey(deps, body.environment, organization.id);
  const input = { keyId, secretHash, name, scopes, expiresAtMs };
  const make = () => store.createKey(org, input, actorOf(kit, deps, call));
  const made = stored(await timed(metrics.db.keys, make));
  if (made === "too_many") throw new HttpProblem("too_many_keys");
  log.info({ request_id: requestId, organization_id: organization.id, key_id: keyId }, "key made");
  return json(201, {
    organization_id: organization.id,
    organization_name: organization.name,
    api_key: apiKey,
    key_id: keyId,
    name: made.name,
    scopes: made.scopes,
    created_at: rfc3339(made.createdAtMs),
    expires_at: timeOrNull(made.expiresAtMs),
    warning: KEY_WARNING,
  });
}

async function rotateKey(kit: Kit, deps: Deps, call: Call<typeof rotate>): Promise<Answer> {
  const { store, authenticator, metrics, log } = deps;
  const { body, principal, nowMs, request, requestId } = call;
  const { org, organization, keyId: oldKeyId } = principal;
  const { apiKey, keyId, secretHash } = await drawKey(deps, environmentOf(request.headers), organization.id);
  const endMs = nowMs + body.overlap_seconds * 1_000;
  const oldExpiresAtMs = Math.min(endMs, principal.expiresAtMs ?? endMs);
  const by = actorOf(kit, deps, call);
  const rotation = () => store.rotateKey(org, oldKeyId, oldExpiresAtMs, { keyId, secretHash }, by);
  const made = stored(await timed(metrics.db.keys, rotation));
  authenticator.invalidateKey(oldKeyId);
  if (made === "not_found") throw new HttpProblem("not_found", { detail: "This key was deleted." });
  if (made === "too_many") throw new HttpProblem("too_many_keys");
  const ids = { organization_id: organization.id, key_id: keyId, old_key_id: oldKeyId };
  log.info({ request_id: requestId, ...ids }, "key rotated");
  return json(200, {
    organization_id: organization.id,
    organization_name: organization.name,
    api_key: apiKey,
    key_id: keyId,
    rotated_at: rfc3339(made.createdAtMs),
    warning: KEY_WARNING,
  });
}

async function deleteKey(kit: Kit, deps: Deps, call: Call<typeof remove>): Promise<Answer> {
  const { store, authenticator, metrics, log } = deps;
  const { params, principal, requestId } = call;
  const { org, organization } = principal;
  const keyId = params.key_id ?? "";
  const run = () => store.deleteKey(org, keyId, actorOf(kit, deps, call));
  const outcome = stored(await timed(metrics.db.keys, run));
  authenticator.invalidateKey(keyId);
  if (outcome === "not_found") throw new HttpProblem("not_found", { detail: "There is no such key." });
  if (outcome === "last_manage_key") throw new HttpProblem("last_manage_key");
  log.info({ request_id: requestId, organization_id: organization.id, key_id: keyId }, "key deleted");
  return noContent;
}

const FIRST_KEY = {
  name: null,
  scopes: ["publish", "consume", "manage"],
  expiresAtMs: null,
} as const;

function takeFromAddress({ keyLimiter, metrics }: Deps, address: string): void {
  const { allowed, limit, retryAfterSeconds } = keyLimiter.take(address, performance.now());
  if (allowed) return;
  metrics.rateLimitExceeded.inc();
  const detail = `From one address ${limit} keys a minute can be made. Try again after the seconds in Retry-After.`;
  throw new HttpProblem("rate_limited", { detail, headers: { "retry-after": String(retryAfterSeconds) } });
}

function keyTold(key: ApiKey) {
  return {
    key_id: key.keyId,
    name: key.name,
    scopes: key.scopes,
    created_at: rfc3339(key.createdAtMs),
    expires_at: timeOrNull(key.expiresAtMs),
    last_used_at: timeOrNull(key.lastUsedAtMs),
  };
}

/** The new key is of the same kind as the one that called. */
function environmentOf(headers: Headers): "live" | "test" {
  const sent = headers.get("x-api-key") ?? headers.get("authorization") ?? "";
  return sent.includes("zap_test_") ? "test" : "live";
}
