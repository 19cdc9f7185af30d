// The load's consumers: leases that are acknowledged, released, extended or left alone, and acknowledgements of events
// by their ids. Each lease is held against what other leases promise.

import type { Answer } from "../help/server.ts";
import type { Calls } from "./calls.ts";
import type { Random } from "./random.ts";
import type { LeaseRecord, OrgRecord, World } from "./record.ts";

type LeasedEvent = { readonly id: string; readonly payload: { readonly org: string } };

export class Consumer {
  readonly #world: World;
  readonly #calls: Calls;
  readonly #random: Random;

  constructor(world: World, calls: Calls, random: Random) {
    this.#world = world;
    this.#calls = calls;
    this.#random = random;
  }

  async step(org: OrgRecord): Promise<void> {
    if (this.#random.chance(0.3)) await this.#ack(org);
    else await this.#lease(org);
  }

  async #ack(org: OrgRecord): Promise<void> {
    const known = [...org.events.keys()];
    const count = this.#random.chance(0.5) ? 1 : Math.min(known.length, this.#random.spread(2, 30));
    const ids = [...new Set(Array.from({ length: count }, () => this.#random.pickAny(known)))];
    const asked = ids.filter((id) => id !== undefined);
    if (asked.length === 0) return;
    for (const id of asked) markAckSent(org, id);
    const [one = ""] = asked;
    const answer =
      asked.length === 1
        ? await this.#calls.call(org.key, "POST", `/api/ack/${one}`)
        : await this.#calls.call(org.key, "POST", "/api/ack", { event_ids: asked });
    if (answer === "lost" || answer === "refused") return;
    const notFound: string[] = answer.status === 404 ? asked : (answer.body.not_found ?? []);
    if (answer.status !== 200 && answer.status !== 404) this.#unexpected(org, "an acknowledgement", answer);
    this.#acknowledged(
      org,
      asked.filter((id) => !notFound.includes(id)),
    );
    for (const id of notFound) {
      if (org.events.get(id)?.deletion === "no") {
        this.#world.violated(`event ${id} of ${org.name} was not found by an acknowledgement`);
      }
    }
  }

  #acknowledged(org: OrgRecord, ids: readonly string[]): void {
    this.#world.counts.acked += ids.length;
    for (const id of ids) {
      const event = org.events.get(id);
      if (event) Object.assign(event, { ack: "done", overMs: event.overMs || Date.now() });
    }
  }

  async #lease(org: OrgRecord): Promise<void> {
    const leaseSeconds = this.#random.chance(0.2) ? 4 : this.#random.int(1, 2);
    const type = this.#random.chance(0.2) ? { type: "order.*" } : {};
    const sentMs = Date.now();
    const asked = { max: this.#random.spread(1, 40), lease_seconds: leaseSeconds, ...type };
    const answer = await this.#calls.call(org.key, "POST", "/api/inbox/lease", asked);
    if (answer === "lost") org.holdsUnseen(leaseSeconds * 1_000);
    if (answer === "lost" || answer === "refused") return;
    if (answer.status !== 200) return this.#unexpected(org, "a lease", answer);
    const { lease_id, leased_until, events } = answer.body;
    if (lease_id === null) return;
    this.#world.counts.leases++;
    const untilMs = Date.parse(leased_until);
    const fromMs = untilMs - leaseSeconds * 1_000;
    const lease: LeaseRecord = { id: lease_id, org, held: new Set(), fromMs, untilMs };
    for (const event of events as LeasedEvent[]) {
      this.#take(lease, event);
      const overMs = org.events.get(event.id)?.overMs ?? 0;
      if (overMs > 0 && overMs < sentMs) {
        this.#world.violated(`event ${event.id} was leased after it was acknowledged or deleted`);
      }
    }
    if (lease.held.size === 0) this.#world.violated(`a lease of ${org.name} has an id and no event`);
    else await this.#use(lease);
  }

  /** Leases all that there is, and keeps it; the ids. */
  async leaseAll(org: OrgRecord): Promise<ReadonlySet<string>> {
    const all = new Set<string>();
    for (;;) {
      const asked = { max: 1_000, lease_seconds: 600 };
      const answer = await this.#calls.call(org.key, "POST", "/api/inbox/lease", asked);
      if (typeof answer === "string" || answer.status !== 200) throw new Error(`no lease in ${org.name}`);
      const { lease_id, leased_until, events } = answer.body;
      if (lease_id === null) return all;
      const untilMs = Date.parse(leased_until);
      const fromMs = untilMs - asked.lease_seconds * 1_000;
      const lease: LeaseRecord = { id: lease_id, org, held: new Set(), fromMs, untilMs };
      for (const event of events as LeasedEvent[]) {
        this.#take(lease, event);
        all.add(event.id);
      }
    }
  }

  /** Two leases of one event must not have a moment in common. */
  #take(lease: LeaseRecord, { id, payload }: LeasedEvent): void {
    const { org } = lease;
    if (payload.org !== org.name) {
      this.#world.violated(`${org.name} was handed event ${id} of ${payload.org}`);
    }
    const other = org.leased.get(id);
    if (other?.held.has(id) && other.fromMs < lease.untilMs && lease.fromMs < other.untilMs) {
      this.#world.violated(
        `event ${id} is in two leases: ${other.id} until ${other.untilMs}, ${lease.id} from ${lease.fromMs}`,
      );
    }
    lease.held.add(id);
    org.leased.set(id, lease);
  }

  async #use(lease: LeaseRecord): Promise<void> {
    const which = this.#random.next();
    if (which < 0.35) await this.#ackLease(lease);
    else if (which < 0.6) await this.#release(lease);
    else if (which < 0.8) await this.#extend(lease);
  }

  /** All of it or some of it. */
  #part(lease: LeaseRecord): { ids: readonly string[]; body: object } {
    const all = [...lease.held];
    if (this.#random.chance(0.5)) return { ids: all, body: { lease_id: lease.id } };
    const ids = all.slice(0, this.#random.int(1, all.length));
    return { ids, body: { lease_id: lease.id, event_ids: ids } };
  }

  async #ackLease(lease: LeaseRecord): Promise<void> {
    const { org } = lease;
    const { ids, body } = this.#part(lease);
    for (const id of ids) markAckSent(org, id);
    const answer = await this.#calls.call(org.key, "POST", "/api/inbox/ack", body);
    if (answer === "lost" || answer === "refused") return;
    const gone: string[] = [...(answer.body?.lost ?? []), ...(answer.body?.not_found ?? [])];
    if (answer.status === 200 || answer.status === 409) {
      this.#acknowledged(
        org,
        // Released by nobody and taken by nobody; one that came back after 20 leases is given up and not acknowledged.
        ids.filter((id) => !gone.includes(id) && answer.body.acknowledged + gone.length >= ids.length),
      );
    } else this.#unexpected(org, "the acknowledgement of a lease", answer);
  }

  async #release(lease: LeaseRecord): Promise<void> {
    const { ids, body } = this.#part(lease);
    // From here on they may be handed to others.
    for (const id of ids) lease.held.delete(id);
    const delay = this.#random.chance(0.3) ? { delay_seconds: 1 } : {};
    // Or stay in the lease, when it is not done and nothing tells so.
    lease.org.holdsUnseen(Math.max(1_000, lease.untilMs - Date.now()));
    const answer = await this.#calls.call(lease.org.key, "POST", "/api/inbox/release", { ...body, ...delay });
    if (answer === "lost" || answer === "refused") return;
    if (answer.status !== 200 && answer.status !== 409) this.#unexpected(lease.org, "a release", answer);
  }

  async #extend(lease: LeaseRecord): Promise<void> {
    const seconds = this.#random.int(1, 4);
    const asItWasMs = lease.untilMs - Date.now();
    lease.untilMs = Math.min(lease.untilMs, Date.now() + seconds * 1_000);
    const body = { lease_id: lease.id, lease_seconds: seconds };
    const answer = await this.#calls.call(lease.org.key, "POST", "/api/inbox/extend", body);
    // Also when it is answered: for what of it, this record may not know.
    lease.org.holdsUnseen(Math.max(seconds * 1_000, asItWasMs));
    if (answer === "lost" || answer === "refused") return;
    if (answer.status === 200) {
      const isWhole = answer.body.extended === lease.held.size;
      if (isWhole) lease.untilMs = Date.parse(answer.body.leased_until);
    } else if (answer.status !== 409) this.#unexpected(lease.org, "the extension of a lease", answer);
  }

  /** Of an organization that is being erased, all may be. */
  #unexpected(org: OrgRecord, what: string, answer: Answer): void {
    if (org.erasure === "no") this.#calls.unexpected(`${what} in ${org.name}`, answer);
  }
}

function markAckSent(org: OrgRecord, id: string): void {
  const event = org.events.get(id);
  if (event?.ack === "no") event.ack = "sent";
}
