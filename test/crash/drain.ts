// The end of a database's time: nothing is killed or refused any more. Everything that is still owed has to come.

import type { Calls } from "./calls.ts";
import type { EventChecker, Inbox } from "./check_events.ts";
import { Consumer } from "./consume.ts";
import type { Follower } from "./follow.ts";
import type { Manager } from "./manage.ts";
import type { OldEvents } from "./old_events.ts";
import { Random } from "./random.ts";
import type { EventRecord, OrgRecord, World } from "./record.ts";

const DEADLINE_MS = 60_000;
const ASK_EACH_MS = 20;
/** A lease that runs out is noticed by the next one. */
const SLACK_MS = 100;

export class Drain {
  readonly #world: World;
  readonly #calls: Calls;
  readonly #manager: Manager;

  constructor(world: World, calls: Calls, manager: Manager) {
    this.#world = world;
    this.#calls = calls;
    this.#manager = manager;
  }

  /** Every webhook that is owed, also to endpoints that were disabled, and what had become a dead letter. */
  async webhooks(): Promise<void> {
    for (const org of this.#world.active) {
      for (const endpoint of org.endpoints.filter(({ isDeletionAsked }) => !isDeletionAsked)) {
        await this.#manager.setStatus(endpoint, "active");
        const asked = { since: new Date(Date.now() - DEADLINE_MS * 60).toISOString() };
        const path = `/api/endpoints/${endpoint.id}/replay`;
        const { status, body } = await this.#calls.api(org.key).post(path, asked);
        if (status !== 202) throw new Error(`the last replay of ${endpoint.name} was answered ${status}`);
        org.replays.push(body.id);
      }
    }
    const owed = () => this.#world.active.flatMap((org) => [...org.events.values()].flatMap(untaken));
    await this.#until("webhooks owed and never sent", async () => owed());
    const running = async () => {
      const found = await Promise.all(this.#world.active.map((org) => this.#runningReplays(org)));
      return found.flat();
    };
    await this.#until("replays that do not end", running);
  }

  async #runningReplays(org: OrgRecord): Promise<string[]> {
    const told = await Promise.all(
      org.replays.map(async (id) => ({ id, ...(await this.#calls.api(org.key).get(`/api/replays/${id}`)) })),
    );
    return told.filter(({ body }) => body?.status !== "completed").map(({ id, status }) => `${id} ${status}`);
  }

  /** What the streams told, over all restarts. */
  async streams(followers: readonly Follower[]): Promise<void> {
    await this.#until("events that a stream never told", async () => {
      return followers.flatMap((follower) => follower.missing());
    });
  }

  /** What nobody acknowledged is handed out, or was in a lease when that was asked for. */
  async leases(org: OrgRecord, inbox: EventChecker): Promise<void> {
    await Bun.sleep(Math.max(0, org.unseenUntilMs + SLACK_MS - Date.now()));
    const consumer = new Consumer(this.#world, this.#calls, new Random(0));
    const askedMs = Date.now();
    const handedOut = await consumer.leaseAll(org);
    const statuses: Inbox = await inbox.check(org);
    for (const [id, status] of statuses) {
      if (status !== "pending" && status !== "failed") continue;
      const lease = org.leased.get(id);
      if (!handedOut.has(id) && !(lease?.held.has(id) && lease.untilMs > askedMs)) {
        this.#world.violated(`event ${id} of ${org.name} is ${status}, and no lease gets it`);
      }
    }
  }

  /** Retention has removed what was over, and nothing else. */
  async retention({ key, untaken, over }: OldEvents): Promise<void> {
    const ids = () => this.#oldIds(key);
    await this.#until("old events that are not removed", async () => {
      return (await ids()).filter((id) => over.has(id));
    });
    const left = new Set(await ids());
    this.#world.counts.expired += over.size;
    for (const id of untaken) {
      if (!left.has(id)) this.#world.violated(`old event ${id}, which nobody took, was removed`);
    }
  }

  async #oldIds(key: string): Promise<string[]> {
    const ids: string[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const query = `?limit=1000${cursor && `&cursor=${encodeURIComponent(cursor)}`}`;
      const { body } = await this.#calls.api(key).get(`/api/inbox${query}`);
      ids.push(...body.events.map((event: { id: string }) => event.id));
      cursor = body.has_more ? body.next_cursor : null;
    }
    return ids;
  }

  async #until(what: string, left: () => Promise<readonly string[]>): Promise<void> {
    const endMs = performance.now() + DEADLINE_MS;
    for (;;) {
      const now = await left();
      if (now.length === 0) return;
      if (performance.now() > endMs) {
        this.#world.violated(`${now.length} ${what}: ${now.slice(0, 5).join("; ")}`);
        return;
      }
      await Bun.sleep(ASK_EACH_MS);
    }
  }
}

/** Endpoints that have not taken an event that is meant for them, unless it was taken away from them. */
function untaken({ id, ack, deletion, meantFor }: EventRecord): string[] {
  if (id === null || ack !== "no" || deletion !== "no") return [];
  return meantFor
    .filter(({ endpoint }) => !endpoint.isDeletionAsked && !endpoint.taken.has(id))
    .map(({ endpoint }) => `${id} to ${endpoint.name} (${endpoint.fate})`);
}
