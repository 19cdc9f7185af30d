// The load's producers: events alone and in batches, with and without dedup ids, posted again, and posted by several at
// once. An event is in flight from before its request goes out until its answer is here.

import type { Answer } from "../help/server.ts";
import type { Calls } from "./calls.ts";
import type { Random } from "./random.ts";
import { type EventRecord, type OrgRecord, unchanged, type World } from "./record.ts";

const TYPES = ["order.created", "order.paid", "user.made", "stock/moved:eu"];
const LARGE_BYTES = 20_000;
const HIDDEN_MS = 1_500;
const RACERS = 4;

/** How many of the posts are batches, and events in the largest of them. */
export type Batches = { readonly share: number; readonly eventsMax: number };

export class Producer {
  readonly #world: World;
  readonly #calls: Calls;
  readonly #random: Random;

  readonly #batches: Batches;

  constructor(world: World, calls: Calls, random: Random, batches: Batches) {
    this.#world = world;
    this.#calls = calls;
    this.#random = random;
    this.#batches = batches;
  }

  async step(org: OrgRecord): Promise<void> {
    const which = this.#random.next();
    if (which < 0.1) await this.#repeat(org);
    else if (which < 0.15) await this.#race(org);
    else if (which < 0.15 + this.#batches.share) await this.#batch(org);
    else await this.#single(this.#draw(org, { mayHide: true }));
  }

  #draw(
    org: OrgRecord,
    {
      mayHide = false,
      dedupId,
      batch = null,
    }: { mayHide?: boolean; dedupId?: string; batch?: number | null },
  ): EventRecord {
    const random = this.#random;
    const op = this.#world.nextNumber();
    // Digits that a parser would change, and now and then a page of text.
    const fill = "x".repeat(random.chance(0.03) ? LARGE_BYTES : random.int(0, 200));
    const event: EventRecord = {
      ...{ op, org, batch, type: random.pick(TYPES), id: null, ack: "no", deletion: "no", overMs: 0 },
      payload: `{"org":${JSON.stringify(org.name)},"op":${op},"exact":1.0,"fill":"${fill}"}`,
      // Counted by organization: two organizations have the same dedup ids.
      dedupId: dedupId ?? (random.chance(0.5) ? freshDedupId(org) : null),
      hiddenUntilMs: mayHide && random.chance(0.03) ? Date.now() + HIDDEN_MS : 0,
      meantFor: [],
    };
    this.#world.byOp.set(op, event);
    return event;
  }

  async #single(event: EventRecord): Promise<void> {
    const { org } = event;
    beginFlight(event);
    const answer = await this.#calls.call(org.key, "POST", "/api/events", eventText(event));
    event.meantFor = unchanged(event.meantFor);
    if (answer === "lost") return this.#lost(1);
    if (answer === "refused") return this.#world.refused(event);
    if (answer.status === 202) this.#accepted(event, answer.body.id);
    else if (answer.status === 409) this.#duplicate(event, answer.body.event_id);
    else this.#unexpected(event, answer);
  }

  #accepted(event: EventRecord, id: string): void {
    this.#world.counts.accepted++;
    this.#world.accept(event, id);
  }

  /** It was posted before, or by another at the same time. */
  #duplicate(event: EventRecord, firstId: string): void {
    this.#world.refused(event);
    if (event.dedupId === null) this.#world.violated(`post ${event.op} has no dedup id and was a duplicate`);
    else this.#world.holdsDedup(event.org, event.dedupId, firstId);
  }

  #unexpected(event: EventRecord, answer: Answer): void {
    this.#world.refused(event);
    if (event.org.erasure === "no") this.#calls.unexpected(`post ${event.op}`, answer);
  }

  /** A dedup id that an answer told to be taken. */
  async #repeat(org: OrgRecord): Promise<void> {
    const dedupId = this.#random.pickAny([...org.dedup.keys()]);
    if (dedupId !== undefined) await this.#single(this.#draw(org, { dedupId }));
  }

  /** One dedup id, posted by several at once: one is accepted, and the others are told which. */
  async #race(org: OrgRecord): Promise<void> {
    const dedupId = freshDedupId(org);
    const events = Array.from({ length: RACERS }, () => this.#draw(org, { dedupId }));
    await Promise.all(events.map((event) => this.#single(event)));
  }

  /** Fresh ones, some that were posted before, and one that is wrong. */
  async #batch(org: OrgRecord): Promise<void> {
    const batch = this.#world.nextNumber();
    const fresh = Array.from({ length: this.#random.spread(1, this.#batches.eventsMax) }, () =>
      this.#draw(org, { batch }),
    );
    const old = this.#random.chance(0.5) ? [...org.dedup.keys()].slice(-2) : [];
    const repeats = old.map((dedupId) => this.#draw(org, { dedupId, batch: this.#world.nextNumber() }));
    const events = [...fresh, ...repeats];
    for (const event of events) beginFlight(event);
    const texts = [...events.map(eventText), '{"type":"","payload":1}'];
    const answer = await this.#calls.call(
      org.key,
      "POST",
      "/api/events/batch",
      `{"events":[${texts.join(",")}]}`,
    );
    for (const event of events) event.meantFor = unchanged(event.meantFor);
    if (answer === "lost") return this.#lost(events.length);
    if (answer === "refused" || answer.status !== 202) {
      for (const event of events) this.#world.refused(event);
      if (answer !== "refused" && org.erasure === "no") this.#calls.unexpected("a batch", answer);
      return;
    }
    const results: { status: string; id: string }[] = answer.body.results;
    events.forEach((event, i) => {
      const { status, id } = results[i] ?? { status: "none", id: "" };
      if (status === "accepted") this.#accepted(event, id);
      else if (status === "duplicate") this.#duplicate(event, id);
      else this.#unexpected(event, answer);
    });
    if (results.at(-1)?.status !== "rejected") this.#world.violated("an event without a type was accepted");
  }

  #lost(events: number): void {
    this.#world.counts.lost += events;
  }
}

/** The event as JSON, its payload spliced in. */
export function eventText({ type, dedupId, hiddenUntilMs, payload }: EventRecord): string {
  const head = {
    type,
    ...(dedupId !== null && { dedup_id: dedupId }),
    ...(hiddenUntilMs > 0 && { deliver_at: new Date(hiddenUntilMs).toISOString() }),
  };
  return `${JSON.stringify(head).slice(0, -1)},"payload":${payload}}`;
}

function beginFlight(event: EventRecord): void {
  event.meantFor = event.org.matching(event.type);
  event.org.inFlight.add(event);
}

const drawn = new WeakMap<OrgRecord, number>();

function freshDedupId(org: OrgRecord): string {
  const n = (drawn.get(org) ?? 0) + 1;
  drawn.set(org, n);
  return `dedup-${n}`;
}
