// After a restart: every event that was answered is there, as it was sent; what was in flight is there or not, and stays
// so from then on; dedup ids name the events that they named.

import type { Answer } from "../help/server.ts";
import type { Calls } from "./calls.ts";
import { eventText } from "./publish.ts";
import type { EventRecord, OrgRecord, World } from "./record.ts";

type Seen = { readonly id: string; readonly status: string; readonly payload: { op: number; org: string } };
/** Statuses by id. */
export type Inbox = ReadonlyMap<string, string>;

const PAGE_EVENTS = 1_000;
const DEDUP_SAMPLES = 40;
const AGAIN_EVENTS = 300;
/** So long after its time a hidden event is in the inbox, also when the server was down meanwhile. */
const SHOWN_MS = 5_000;

export class EventChecker {
  readonly #world: World;
  readonly #calls: Calls;

  constructor(world: World, calls: Calls) {
    this.#world = world;
    this.#calls = calls;
  }

  async check(org: OrgRecord): Promise<Inbox> {
    const inFlight = [...org.inFlight];
    const inbox = await this.#walk(org);
    this.#checkBatches(org, inFlight);
    for (const event of org.events.values()) await this.#checkStored(event, inbox);
    await this.#postAgain(org, inFlight);
    await this.#checkDedup(org);
    return inbox;
  }

  /** All pages; what was in flight and is there is adopted. */
  async #walk(org: OrgRecord): Promise<Inbox> {
    const inbox = new Map<string, string>();
    for (let cursor: string | null = ""; cursor !== null; ) {
      const query = `?order=asc&limit=${PAGE_EVENTS}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`;
      const page: Answer = await this.#calls.api(org.key).get(`/api/inbox${query}`);
      if (page.status !== 200) throw new Error(`the inbox of ${org.name}: ${page.status} ${page.text}`);
      let at = 0;
      for (const seen of page.body.events as Seen[]) {
        at = page.text.indexOf(`{"id":"${seen.id}"`, at);
        if (inbox.has(seen.id)) this.#world.violated(`the inbox of ${org.name} tells ${seen.id} twice`);
        inbox.set(seen.id, seen.status);
        this.#checkSeen(org, seen, page.text, at);
      }
      cursor = page.body.has_more ? page.body.next_cursor : null;
    }
    return inbox;
  }

  #checkSeen(org: OrgRecord, seen: Seen, text: string, at: number): void {
    const { id, payload, status } = seen;
    if (payload.org !== org.name) this.#world.violated(`${org.name} sees event ${id} of ${payload.org}`);
    const event = org.events.get(id) ?? this.#adopt(org, seen);
    if (event === undefined) return;
    const { type, dedupId } = event;
    const exact = `{"id":"${id}","type":"${type}","dedup_id":${JSON.stringify(dedupId)},"payload":${event.payload},`;
    if (!text.startsWith(exact, at)) {
      this.#world.violated(`event ${id} is not as it was sent: ${text.slice(at, at + 300)}`);
    }
    if (event.deletion === "done") this.#world.violated(`event ${id} is there, and was deleted`);
    if (event.ack === "done" && status !== "delivered") {
      this.#world.violated(`event ${id} was acknowledged, and is ${status}`);
    }
    // One that was acknowledged by its id shows: it is over.
    if (event.hiddenUntilMs > Date.now() && event.ack === "no")
      this.#world.violated(`event ${id} is not hidden`);
  }

  #adopt(org: OrgRecord, { id, payload }: Seen): EventRecord | undefined {
    const event = this.#world.byOp.get(payload.op);
    if (event?.org !== org || !org.inFlight.has(event)) {
      this.#world.violated(`${org.name} has event ${id} of post ${payload.op}, which was not accepted`);
      return undefined;
    }
    this.#world.counts.adopted++;
    this.#world.accept(event, id);
    return event;
  }

  /** One transaction: all of a batch or none of it. */
  #checkBatches(org: OrgRecord, inFlight: readonly EventRecord[]): void {
    const batches = Map.groupBy(inFlight, ({ batch }) => batch);
    batches.delete(null);
    for (const [batch, events] of batches) {
      const stored = events.filter(({ id }) => id !== null);
      // What repeats a dedup id is no part of the batch that may be there: it is a batch of one in the record.
      if (stored.length > 0 && stored.length < events.length) {
        this.#world.violated(
          `${org.name} has ${stored.length} of the ${events.length} events of batch ${batch}`,
        );
      }
    }
  }

  async #checkStored(event: EventRecord, inbox: Inbox): Promise<void> {
    const { id, org } = event;
    if (id === null || inbox.has(id) || event.deletion === "done") return;
    const { status, text } = await this.#calls.api(org.key).get(`/api/events/${id}`);
    if (status === 404 && event.deletion === "sent") {
      Object.assign(event, { deletion: "done", overMs: Date.now() });
    } else if (status !== 200) this.#world.violated(`event ${id} of ${org.name} is lost: ${status} ${text}`);
    else if (event.hiddenUntilMs === 0)
      this.#world.violated(`event ${id} of ${org.name} is not in its inbox`);
    else if (!text.includes(`"payload":${event.payload},`)) {
      this.#world.violated(`hidden event ${id} is not as it was sent: ${text.slice(0, 300)}`);
    }
  }

  /** As a client does that got no answer: with a dedup id nothing happens twice, and its event is named. */
  async #postAgain(org: OrgRecord, inFlight: readonly EventRecord[]): Promise<void> {
    const withId = inFlight.filter(({ dedupId }) => dedupId !== null);
    for (let at = 0; at < withId.length; at += AGAIN_EVENTS) {
      const events = withId.slice(at, at + AGAIN_EVENTS);
      const body = `{"events":[${events.map(eventText).join(",")}]}`;
      const { status, body: answer } = await this.#calls.api(org.key).post("/api/events/batch", body);
      if (status !== 202) throw new Error(`posting again was answered ${status}`);
      events.forEach((event, i) => {
        this.#postedAgain(event, answer.results[i]);
      });
    }
    for (const event of inFlight) {
      const isOver = event.id === null && event.hiddenUntilMs < Date.now() - SHOWN_MS;
      if (event.dedupId === null && isOver) this.#world.refused(event);
    }
    // A hidden one without a dedup id shows by itself when its time comes.
    for (const event of org.inFlight) event.meantFor = [];
  }

  #postedAgain(event: EventRecord, { status, id }: { status: string; id: string }): void {
    const { org, dedupId } = event;
    if (dedupId === null) return;
    const holder = org.dedup.get(dedupId);
    if (status === "accepted" && holder === undefined) {
      this.#world.accept(event, id);
      event.meantFor = [];
    } else if (status !== "duplicate") {
      this.#world.violated(`dedup id ${dedupId} of ${org.name} was ${status} again`);
    } else {
      const mayBeHidden = event.hiddenUntilMs > 0 && holder === undefined;
      if (event.id === null && mayBeHidden) this.#world.accept(event, id);
      else if (event.id === null) this.#world.refused(event);
      if (holder === undefined && !mayBeHidden) {
        this.#world.violated(`dedup id ${dedupId} of ${org.name} names ${id}, which nobody sees`);
      }
      this.#world.holdsDedup(org, dedupId, id);
    }
  }

  /** The newest, which stand in the unsealed tail, and some of the older ones. */
  async #checkDedup(org: OrgRecord): Promise<void> {
    const all = [...org.dedup.keys()];
    const stride = Math.max(1, Math.floor(all.length / DEDUP_SAMPLES));
    const some = [...all.filter((_, n) => n % stride === 0), ...all.slice(-DEDUP_SAMPLES)];
    if (some.length === 0) return;
    const events = some.map((dedup_id) => ({ type: "again", dedup_id, payload: { org: org.name, op: 0 } }));
    const { status, body } = await this.#calls.api(org.key).post("/api/events/batch", { events });
    if (status !== 202) throw new Error(`a batch of dedup ids was answered ${status}`);
    some.forEach((dedupId, i) => {
      const result = body.results[i];
      if (result.status !== "duplicate") {
        this.#world.violated(`dedup id ${dedupId} of ${org.name} was free: ${JSON.stringify(result)}`);
      } else this.#world.holdsDedup(org, dedupId, result.id);
    });
    for (const id of org.dedup.values()) {
      if (!org.events.has(id)) this.#world.violated(`${org.name}: event ${id} has a dedup id and is unknown`);
    }
  }

  /** An export has the events of its organization and no other's. */
  async checkExport(org: OrgRecord): Promise<void> {
    const path = `/api/admin/organizations/${org.id}/export`;
    const { status, text } = await this.#calls.api(null).get(path);
    if (status !== 200) throw new Error(`the export of ${org.name}: ${status}`);
    const exported = new Set<string>();
    for (const line of text.trimEnd().split("\n")) {
      const { kind, id, payload } = JSON.parse(line) as { kind: string } & Seen;
      if (kind !== "event") continue;
      exported.add(id);
      if (payload.org !== org.name)
        this.#world.violated(`the export of ${org.name} has an event of ${payload.org}`);
    }
    for (const { id, deletion } of org.events.values()) {
      if (id !== null && deletion === "no" && !exported.has(id)) {
        this.#world.violated(`the export of ${org.name} lacks event ${id}`);
      }
    }
  }
}
