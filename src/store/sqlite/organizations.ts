// Writes to organizations and their keys.

import type { Tier } from "../../wire/tiers.ts";
import type { ApiKey, NewKey, Organization, UsedKey } from "../store.ts";
import type { Context } from "./context.ts";
import { scopesText } from "./op.ts";
import { type KeyRow, keyOfRow, type OrganizationRow, organizationOfRow } from "./rows.ts";

type Create = { id: string; name: string; tier: Tier; key: NewKey };

export function prepareCreateOrganization(ctx: Context): (op: Create) => Organization {
  const insert = ctx.db.prepare<OrganizationRow, [string, string, string, number, number]>(
    "INSERT INTO organizations (id, name, tier, created_at, updated_at) VALUES (?, ?, ?, ?, ?) RETURNING *",
  );
  const createKey = prepareCreateKey(ctx);
  return ({ id, name, tier, key }) => {
    const row = insert.get(id, name, tier, ctx.nowMs, ctx.nowMs);
    if (!row) throw new Error("an insert returned no row");
    createKey({ org: row.org, key });
    return organizationOfRow(row);
  };
}

type Insert = [string, number, string, string | null, string, number, number | null];

function prepareInsertKey(ctx: Context): (...values: Insert) => ApiKey {
  const insert = ctx.db.prepare<KeyRow, Insert>(
    `INSERT INTO api_keys (key_id, org, secret_hash, name, scopes, created_at, expires_at)
     VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING *`,
  );
  return (...values) => {
    const row = insert.get(...values);
    if (!row) throw new Error("an insert returned no row");
    return keyOfRow(row);
  };
}

/** All of them are in one answer (`GET /api/keys`). */
const KEYS_MAX = 1_000;

function prepareIsFull(ctx: Context): (org: number) => boolean {
  const count = ctx.db.prepare<{ n: number }, [number]>("SELECT count(*) AS n FROM api_keys WHERE org = +?");
  return (org) => (count.get(org)?.n ?? 0) >= KEYS_MAX;
}

export function prepareCreateKey(ctx: Context): (op: { org: number; key: NewKey }) => ApiKey | "too_many" {
  const insert = prepareInsertKey(ctx);
  const isFull = prepareIsFull(ctx);
  return ({ org, key }) =>
    isFull(org)
      ? "too_many"
      : insert(key.keyId, org, key.secretHash, key.name, scopesText(key.scopes), ctx.nowMs, key.expiresAtMs);
}

/** So long a key that has expired is still told, for whoever wonders why a program is refused. */
const EXPIRED_KEPT_MS = 30 * 24 * 60 * 60 * 1_000;

/** Removes what expired a month ago; part of retention. */
export function prepareForgetKeys(ctx: Context): () => void {
  const forget = ctx.db.prepare<void, [number]>("DELETE FROM api_keys WHERE expires_at < ?");
  return () => void forget.run(ctx.nowMs - EXPIRED_KEPT_MS);
}

type Rotate = { org: number; oldKeyId: string; oldExpiresAtMs: number; keyId: string; secretHash: string };

/** The new key takes name, scopes and expiry of the old one, which expires at the given time if not before. */
export function prepareRotateKey(ctx: Context): (op: Rotate) => ApiKey | "not_found" | "too_many" {
  const insert = prepareInsertKey(ctx);
  const isFull = prepareIsFull(ctx);
  const find = ctx.db.prepare<KeyRow, [string, number]>(
    "SELECT * FROM api_keys WHERE key_id = +? AND org = +?",
  );
  const expire = ctx.db.prepare<void, [number, string]>(
    "UPDATE api_keys SET expires_at = min(coalesce(expires_at, ?1), ?1) WHERE key_id = +?2",
  );
  const remove = ctx.db.prepare<void, [string]>("DELETE FROM api_keys WHERE key_id = +?");
  return ({ org, oldKeyId, oldExpiresAtMs, keyId, secretHash }) => {
    const old = find.get(oldKeyId, org);
    if (!old) return "not_found";
    if (oldExpiresAtMs <= ctx.nowMs) remove.run(oldKeyId);
    else if (isFull(org)) return "too_many";
    else expire.run(oldExpiresAtMs, oldKeyId);
    return insert(keyId, org, secretHash, old.name, old.scopes, ctx.nowMs, old.expires_at);
  };
}

/** The last key that can manage, and does not expire soon, stays: without it nobody could make another. */
export function prepareDeleteKey(ctx: Context) {
  const find = ctx.db.prepare<KeyRow, [string, number]>(
    "SELECT * FROM api_keys WHERE key_id = +? AND org = +?",
  );
  const otherManagers = ctx.db.prepare<{ n: number }, [number, string, number]>(
    `SELECT count(*) AS n FROM api_keys WHERE org = +? AND key_id <> ? AND instr(scopes, 'manage') > 0
     AND (expires_at IS NULL OR expires_at > ?)`,
  );
  const remove = ctx.db.prepare<void, [string]>("DELETE FROM api_keys WHERE key_id = +?");
  return ({ org, keyId }: { org: number; keyId: string }): "deleted" | "not_found" | "last_manage_key" => {
    const key = find.get(keyId, org);
    if (!key) return "not_found";
    const manages = key.scopes.includes("manage") && (key.expires_at === null || key.expires_at > ctx.nowMs);
    if (manages && otherManagers.get(org, keyId, ctx.nowMs)?.n === 0) return "last_manage_key";
    remove.run(keyId);
    return "deleted";
  };
}

export function prepareTouchKeys(ctx: Context) {
  const touch = ctx.db.prepare<void, [number, string]>(
    "UPDATE api_keys SET last_used_at = ? WHERE key_id = +?",
  );
  return ({ used }: { used: readonly UsedKey[] }): null => {
    for (const { keyId, lastUsedAtMs } of used) touch.run(lastUsedAtMs, keyId);
    return null;
  };
}

type Change = { org: number; tier?: Tier; rateLimitPerMinute?: number | null; disabled?: boolean };

export function prepareUpdateOrganization(ctx: Context): (op: Change) => Organization | "not_found" {
  const find = ctx.db.prepare<OrganizationRow, [number]>(
    "SELECT * FROM organizations WHERE org = +? AND erasing = 0",
  );
  const update = ctx.db.prepare<OrganizationRow, [string, number | null, number, number, number]>(
    `UPDATE organizations SET tier = ?, rate_limit_per_minute = ?, disabled = ?, updated_at = ? WHERE org = +?
     RETURNING *`,
  );
  return (change) => {
    const row = find.get(change.org);
    if (!row) return "not_found";
    const limit =
      change.rateLimitPerMinute === undefined ? row.rate_limit_per_minute : change.rateLimitPerMinute;
    const disabled = change.disabled === undefined ? row.disabled : Number(change.disabled);
    const changed = update.get(change.tier ?? row.tier, limit, disabled, ctx.nowMs, change.org);
    return changed ? organizationOfRow(changed) : "not_found";
  };
}
