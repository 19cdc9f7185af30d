// Which endpoints an event goes to, as of the last commit. The writer is the only one to change endpoints, so its
// memory of them is right by construction; a rolled-back group forgets all of it.

import type { Database } from "bun:sqlite";
import { type TypeMatcher, typeMatcher } from "../../webhook/event_types.ts";

/** Types are the callers' words: what is remembered of them is bounded, per organization. */
const TYPES_MAX = 1_000;

type Row = { endpoint: number; event_types: string };
type Candidate = { readonly endpoint: number; readonly matches: TypeMatcher };
type Org = { readonly candidates: readonly Candidate[]; readonly byType: Map<string, readonly number[]> };

export class FanOut {
  readonly #endpointsOf;
  readonly #isThere;
  readonly #byOrg = new Map<number, Org>();

  constructor(db: Database) {
    this.#endpointsOf = db.prepare<Row, [number]>(
      "SELECT endpoint, event_types FROM endpoints WHERE org = +? AND deleted_at IS NULL ORDER BY endpoint",
    );
    this.#isThere = db.prepare<{ one: number }, [number]>(
      "SELECT 1 AS one FROM organizations WHERE org = +? AND erasing = 0",
    );
  }

  /**
   * The endpoints of an organization that take an event of this type, also the disabled ones: it is held for them. Null
   * when the organization is being erased, or was.
   */
  endpoints(org: number, type: string): readonly number[] | null {
    const found = this.#org(org);
    return found && this.#matching(found, type);
  }

  /** The endpoints of this organization change in the group in hand, or it goes. */
  forget(org: number): void {
    this.#byOrg.delete(org);
  }

  forgetAll(): void {
    this.#byOrg.clear();
  }

  #matching({ candidates, byType }: Org, type: string): readonly number[] {
    const known = byType.get(type);
    if (known !== undefined) return known;
    const found = candidates.filter(({ matches }) => matches(type)).map(({ endpoint }) => endpoint);
    if (byType.size >= TYPES_MAX) byType.clear();
    byType.set(type, found);
    return found;
  }

  #org(org: number): Org | null {
    const known = this.#byOrg.get(org);
    if (known !== undefined) return known;
    if (!this.#isThere.get(org)) return null;
    const candidates = this.#endpointsOf.all(org).map(({ endpoint, event_types }) => ({
      endpoint,
      matches: typeMatcher(JSON.parse(event_types) as string[]),
    }));
    const found: Org = { candidates, byType: new Map() };
    this.#byOrg.set(org, found);
    return found;
  }
}
