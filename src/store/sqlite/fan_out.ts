// Which endpoints an event goes to, as of the last commit. The writer is the only one to change endpoints, so its
// memory of them is right by construction; a rolled-back group forgets all of it.

import type { Database } from "bun:sqlite";

export class FanOut {
  readonly #endpointsOf;
  readonly #byOrg = new Map<number, readonly number[]>();

  constructor(db: Database) {
    this.#endpointsOf = db.prepare<{ endpoint: number }, [number]>(
      "SELECT endpoint FROM endpoints WHERE org = ? AND deleted_at IS NULL ORDER BY endpoint",
    );
  }

  /** The endpoints of an organization that take this event. */
  endpoints(org: number): readonly number[] {
    let endpoints = this.#byOrg.get(org);
    if (!endpoints) {
      endpoints = this.#endpointsOf.all(org).map((row) => row.endpoint);
      this.#byOrg.set(org, endpoints);
    }
    return endpoints;
  }

  /** The endpoints of this organization change in the group in hand. */
  forget(org: number): void {
    this.#byOrg.delete(org);
  }

  forgetAll(): void {
    this.#byOrg.clear();
  }
}
