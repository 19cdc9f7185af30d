// Reads of organizations, keys and endpoints, through drizzle: none of them is on the hot path. (Those of the start, and
// the one behind a key, are in read_start.ts.)

import type { Database } from "bun:sqlite";
import { and, asc, desc, eq, getTableColumns, gt, gte, isNull, lt } from "drizzle-orm";
import { drizzle } from "drizzle-orm/bun-sqlite";
import type { ApiKey, AuditEntry, AuditQuery, Endpoint, Organization, Replay } from "../store.ts";
import { auditEntryOfRow, endpointOfRow, keyOfRow, organizationOfRow, replayOfRow } from "./rows.ts";
import { apiKeys, audit, endpoints, organizations, replays } from "./schema.ts";

export class AdminReads {
  readonly #db;

  constructor(db: Database) {
    this.#db = drizzle({ client: db });
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
