// Reads of organizations, keys and endpoints, through drizzle: none of them is on the hot path, since a key is
// read once per key and five minutes.

import type { Database } from "bun:sqlite";
import { and, asc, desc, eq, getTableColumns, gt, gte, isNotNull, isNull, lt } from "drizzle-orm";
import { drizzle } from "drizzle-orm/bun-sqlite";
import type { ApiKey, AuditEntry, AuditQuery, Endpoint, KeyRecord, Organization, Replay } from "../store.ts";
import {
  auditEntryOfRow,
  endpointOfRow,
  keyOfRow,
  keyRecordOfRows,
  organizationOfRow,
  replayOfRow,
} from "./rows.ts";
import { apiKeys, audit, endpoints, organizations, replays } from "./schema.ts";

export class AdminReads {
  readonly #db;

  constructor(db: Database) {
    this.#db = drizzle({ client: db });
  }

  keyRecord(keyId: string): KeyRecord | null {
    const row = this.#db
      .select()
      .from(apiKeys)
      .innerJoin(organizations, eq(organizations.org, apiKeys.org))
      .where(eq(apiKeys.key_id, keyId))
      .get();
    return row ? keyRecordOfRows(row.api_keys, row.organizations) : null;
  }

  keysOf(org: number): readonly ApiKey[] {
    const rows = this.#db
      .select()
      .from(apiKeys)
      .where(eq(apiKeys.org, org))
      .orderBy(asc(apiKeys.created_at), asc(apiKeys.key_id));
    return rows.all().map(keyOfRow);
  }

  organization(org: number): Organization | null {
    const row = this.#db.select().from(organizations).where(eq(organizations.org, org)).get();
    return row ? organizationOfRow(row) : null;
  }

  /** One being erased is gone already, for everybody outside. */
  organizationById(id: string): Organization | null {
    const row = this.#db
      .select()
      .from(organizations)
      .where(and(eq(organizations.id, id), eq(organizations.erasing, 0)))
      .get();
    return row ? organizationOfRow(row) : null;
  }

  audit({ organizationId, sinceMs, untilMs, beforeEntry, limit }: AuditQuery): readonly AuditEntry[] {
    const rows = this.#db
      .select()
      .from(audit)
      .where(
        and(
          organizationId === null ? undefined : eq(audit.organization_id, organizationId),
          beforeEntry === null ? undefined : lt(audit.entry, beforeEntry),
          sinceMs === null ? undefined : gte(audit.at, sinceMs),
          untilMs === null ? undefined : lt(audit.at, untilMs),
        ),
      )
      .orderBy(desc(audit.entry))
      .limit(limit);
    return rows.all().map(auditEntryOfRow);
  }

  organizations(afterOrg: number, limit: number): readonly Organization[] {
    const rows = this.#db
      .select()
      .from(organizations)
      .where(and(gt(organizations.org, afterOrg), eq(organizations.erasing, 0)))
      .orderBy(asc(organizations.org))
      .limit(limit);
    return rows.all().map(organizationOfRow);
  }

  /** Organizations whose erasure a restart interrupted. */
  erasing(): readonly number[] {
    return this.#db
      .select({ org: organizations.org })
      .from(organizations)
      .where(eq(organizations.erasing, 1))
      .all()
      .map((row) => row.org);
  }

  endpoint(org: number, id: string): Endpoint | null {
    const row = this.#db
      .select()
      .from(endpoints)
      .where(and(eq(endpoints.org, org), eq(endpoints.id, id), isNull(endpoints.deleted_at)))
      .get();
    return row ? endpointOfRow(row) : null;
  }

  endpoints(org: number, afterEndpoint: number, limit: number): readonly Endpoint[] {
    const rows = this.#db
      .select()
      .from(endpoints)
      .where(and(eq(endpoints.org, org), gt(endpoints.endpoint, afterEndpoint), isNull(endpoints.deleted_at)))
      .orderBy(asc(endpoints.endpoint))
      .limit(limit);
    return rows.all().map(endpointOfRow);
  }

  replay(org: number, id: string): Replay | null {
    const row = this.#db
      .select({ ...getTableColumns(replays), endpoint_id: endpoints.id })
      .from(replays)
      .innerJoin(endpoints, eq(endpoints.endpoint, replays.endpoint))
      .where(and(eq(replays.org, org), eq(replays.id, id)))
      .get();
    return row ? replayOfRow(row) : null;
  }

  /** Replays that are not done; a restart goes on with them. */
  runningReplays(): readonly number[] {
    const running = this.#db.select({ replay: replays.replay }).from(replays);
    return running
      .where(isNull(replays.completed_at))
      .all()
      .map((row) => row.replay);
  }

  /** Endpoints whose waiting deliveries are being put in the order of age. */
  agingEndpoints(): readonly number[] {
    return this.#db
      .select({ endpoint: endpoints.endpoint })
      .from(endpoints)
      .where(eq(endpoints.aging, 1))
      .all()
      .map((row) => row.endpoint);
  }

  /** Deleted endpoints, whose waiting deliveries a restart may have left half cancelled. */
  deletedEndpoints(): readonly number[] {
    return this.#db
      .select({ endpoint: endpoints.endpoint })
      .from(endpoints)
      .where(isNotNull(endpoints.deleted_at))
      .all()
      .map((row) => row.endpoint);
  }

  defaultEndpoint(org: number): Endpoint | null {
    const row = this.#db
      .select()
      .from(endpoints)
      .where(and(eq(endpoints.org, org), eq(endpoints.name, "default"), isNull(endpoints.deleted_at)))
      .get();
    return row ? endpointOfRow(row) : null;
  }

  /** Also the deleted ones, which old deliveries tell of. */
  endpointsOf(org: number): readonly Endpoint[] {
    return this.#db.select().from(endpoints).where(eq(endpoints.org, org)).all().map(endpointOfRow);
  }
}
