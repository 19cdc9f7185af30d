// What is read at the start, and for the first request: the key's record. In plain SQL, since the first statement of the
// query builder takes 4 ms.

import type { Database } from "bun:sqlite";
import type { KeyRecord } from "../store.ts";
import { type KeyRow, keyRecordOfRows, type OrganizationRow } from "./rows.ts";

export class StartReads {
  readonly #key;
  readonly #organization;
  readonly #erasing;
  readonly #deleted;
  readonly #aging;
  readonly #replays;

  constructor(db: Database) {
    this.#key = db.prepare<KeyRow, [string]>("SELECT * FROM api_keys WHERE key_id = +?");
    this.#organization = db.prepare<OrganizationRow, [number]>("SELECT * FROM organizations WHERE org = +?");
    const numbers = (sql: string) => db.prepare<{ n: number }, []>(sql);
    this.#erasing = numbers("SELECT org AS n FROM organizations WHERE erasing = 1");
    this.#deleted = numbers("SELECT endpoint AS n FROM endpoints WHERE deleted_at IS NOT NULL");
    this.#aging = numbers("SELECT endpoint AS n FROM endpoints WHERE aging = 1");
    this.#replays = numbers("SELECT replay AS n FROM replays WHERE completed_at IS NULL");
  }

  /** Null when there is no such key. */
  keyRecord(keyId: string): KeyRecord | null {
    const key = this.#key.get(keyId);
    const organization = key && this.#organization.get(key.org);
    return key && organization ? keyRecordOfRows(key, organization) : null;
  }

  /** Organizations whose erasure a restart interrupted. */
  erasing(): readonly number[] {
    return this.#erasing.all().map(({ n }) => n);
  }

  /** Deleted endpoints, whose waiting deliveries a restart may have left half cancelled. */
  deletedEndpoints(): readonly number[] {
    return this.#deleted.all().map(({ n }) => n);
  }

  /** Endpoints whose waiting deliveries are being put in the order of age. */
  agingEndpoints(): readonly number[] {
    return this.#aging.all().map(({ n }) => n);
  }

  /** Replays that are not done; a restart goes on with them. */
  runningReplays(): readonly number[] {
    return this.#replays.all().map(({ n }) => n);
  }
}
