// What happens to a running service, at random: callers, consumers, operators, receivers, the disk, the clock and the
// power. Each step has dice of its own, rolled from the seed and its number, so that leaving a step out changes no other.

import type { EndpointSettings, Written } from "../../src/store/store.ts";
import type { DeliveryStatus } from "../../src/wire/tiers.ts";
import { SECRET } from "../store/writing.ts";
import type { Dice } from "./dice.ts";
import type { Ledger, SeenEndpoint } from "./ledger.ts";
import { type Mood, moods, type Receivers } from "./receivers.ts";
import type { System } from "./system.ts";
import type { VirtualTime } from "./virtual_time.ts";

const BY = { kind: "server", keyId: null, address: null, requestId: null } as const;
const TYPES = ["order.created", "order.paid", "user.made"] as const;
const PATTERNS: readonly [readonly string[], ...(readonly string[])[]] = [
  ["*"],
  ["*"],
  ["order.*"],
  ["order.paid", "user.made"],
];
const REPLAYED: readonly [readonly DeliveryStatus[], ...(readonly DeliveryStatus[])[]] = [
  ["dead_letter"],
  ["delivered", "dead_letter"],
  ["failed", "pending"],
];
const [SECOND, MINUTE, HOUR] = [1_000, 60_000, 3_600_000];
/** The longest that an event is hidden. */
export const HIDDEN_MS_MAX = 4 * HOUR;
/** One event in so many is of the second organization. */
const OTHERS = 6;
const CROWD = 80;

export type Scene = {
  readonly time: VirtualTime;
  readonly system: System;
  readonly receivers: Receivers;
  readonly ledger: Ledger;
  readonly orgs: readonly number[];
  readonly onDisk: () => void;
  readonly report: (problem: string) => void;
};

const WEIGHTS = {
  ...{ ingest: 22, batch: 2, createEndpoint: 4, updateEndpoint: 5, disable: 2, enable: 6, deleteEndpoint: 1 },
  ...{
    mood: 14,
    allMoods: 2,
    ack: 4,
    retry: 6,
    replay: 3,
    lease: 6,
    ofLease: 7,
    deleteEvents: 1,
    prune: 0.5,
  },
  ...{ crash: 3, restart: 2, clock: 2, disk: 1.5, wait: 10, longWait: 4, webhook: 1, crowd: 0.05 },
};
type Kind = keyof typeof WEIGHTS;

export class Script {
  readonly #scene: Scene;
  #endpoints = 0;
  /** Calls that are not answered yet. */
  readonly #calls = new Set<Promise<unknown>>();
  #leases: { org: number; id: string }[] = [];

  constructor(scene: Scene) {
    this.#scene = scene;
  }

  /** Takes one step and lets some time pass; tells what it is, in a few words. */
  step(dice: Dice, tell: (what: string) => void): void {
    const kind = dice.weighed(WEIGHTS);
    const { time } = this.#scene;
    tell(kind);
    const what = STEPS[kind].call(this, dice);
    const gapMs = dice.weighed({ none: 4, moment: 8, second: 4, minute: 2 });
    const factor = { none: 0, moment: 30, second: 3 * SECOND, minute: 10 * MINUTE }[gapMs];
    const waitMs = Math.round(factor * dice.random());
    tell(`${kind} ${what}, then ${waitMs} ms`);
    time.pass(waitMs);
  }

  /** At the beginning there is something to deliver to. */
  begin(dice: Dice): void {
    for (let i = dice.whole(1, 4); i > 0; i--) this.createEndpoint(dice);
    this.#scene.time.pass(SECOND);
  }

  ingest(dice: Dice): string {
    const count = dice.weighed({ 1: 8, 3: 5, 12: 2, 40: 1 });
    for (let i = 0; i < Number(count); i++) this.#told(this.#scene.system.store.ingest(this.#event(dice)));
    return count;
  }

  batch(dice: Dice): string {
    const events = Array.from({ length: dice.whole(2, 30) }, () => this.#event(dice));
    this.#told(this.#scene.system.store.ingestBatch(events));
    return String(events.length);
  }

  createEndpoint(dice: Dice): string {
    const url = this.#newUrl(this.#endpoints++);
    const mood = dice.chance(0.5) ? "well" : dice.of(...moods);
    this.#scene.receivers.feels(url, mood);
    const settings: EndpointSettings & { signingSecret: string } = {
      ...{ url, description: null, headers: {}, signingSecret: SECRET },
      eventTypes: dice.of(...PATTERNS),
      ordered: dice.chance(0.3),
      maxInFlight: dice.chance(0.3) ? dice.of(1, 2, 7, 64) : null,
      rateLimitPerSecond: dice.chance(0.15) ? dice.of(1, 3, 20, 200) : null,
      timeoutMs: dice.chance(0.2) ? 1_000 : null,
    };
    this.#told(this.#scene.system.store.createEndpoint(this.#org(dice), settings, BY));
    const { ordered, maxInFlight, rateLimitPerSecond } = settings;
    return `${url} ${mood} ${JSON.stringify({ ordered, maxInFlight, rateLimitPerSecond })}`;
  }

  /** More endpoints than there are places for quick attempts, all of a mood. */
  crowd(dice: Dice): string {
    if (this.#endpoints >= CROWD) return "there is one";
    const mood = dice.of<Mood>("silent", "slow", "well", "failing");
    const rest = { description: null, headers: {}, signingSecret: SECRET, timeoutMs: null };
    const limits = { ordered: false, maxInFlight: null, rateLimitPerSecond: null };
    const { system, orgs, receivers, time } = this.#scene;
    const org = orgs[1] ?? 0;
    for (let i = 0; i < CROWD; i++) {
      const url = this.#newUrl(this.#endpoints++);
      receivers.feels(url, mood);
      this.#told(system.store.createEndpoint(org, { url, eventTypes: ["*"], ...rest, ...limits }, BY));
    }
    time.pass(SECOND);
    for (let i = dice.whole(1, 3); i > 0; i--) {
      this.#told(system.store.ingest({ ...this.#event(dice), org }));
    }
    return mood;
  }

  updateEndpoint(dice: Dice): string {
    const endpoint = this.#endpoint(dice);
    if (!endpoint) return "none";
    const url = dice.chance(0.2) ? this.#nextUrl(endpoint.url) : null;
    const change: Partial<EndpointSettings> = {
      ...(dice.chance(0.4) ? { ordered: dice.chance(0.5) } : {}),
      ...(dice.chance(0.3) ? { maxInFlight: dice.of(null, 1, 2, 7) } : {}),
      ...(dice.chance(0.15) ? { rateLimitPerSecond: dice.of(null, null, 2, 50) } : {}),
      ...(dice.chance(0.2) ? { eventTypes: dice.of(...PATTERNS) } : {}),
      ...(url === null ? {} : { url }),
    };
    this.#told(this.#scene.system.store.updateEndpoint(endpoint.org, endpoint.id, change, BY));
    return `${endpoint.endpoint} ${JSON.stringify(change)}`;
  }

  webhook(dice: Dice): string {
    const url = this.#newUrl(this.#endpoints++);
    const put = { url, signingSecret: SECRET };
    const { store } = this.#scene.system;
    const before = store.defaultEndpoint(this.#scene.orgs[0] ?? 0);
    if (before === null || dice.chance(0.1)) return "left alone";
    this.#told(store.putDefaultEndpoint(this.#org(dice), put, BY));
    return url;
  }

  disable(dice: Dice): string {
    return this.#ofEndpoint(dice, ({ org, id }) => this.#scene.system.store.disableEndpoint(org, id, BY));
  }

  enable(dice: Dice): string {
    return this.#ofEndpoint(dice, ({ org, id }) => this.#scene.system.store.enableEndpoint(org, id, BY));
  }

  deleteEndpoint(dice: Dice): string {
    return this.#ofEndpoint(dice, ({ org, id }) => this.#scene.system.store.deleteEndpoint(org, id, BY));
  }

  mood(dice: Dice): string {
    const mood = this.#mood(dice);
    return `${this.#ofEndpoint(dice, ({ url }) => this.#scene.receivers.feels(url, mood))} ${mood}`;
  }

  allMoods(dice: Dice): string {
    const mood = this.#mood(dice);
    for (const { url } of this.#scene.ledger.endpoints) this.#scene.receivers.feels(url, mood);
    return mood;
  }

  ack(dice: Dice): string {
    const ids = this.#someIds(dice, dice.of(1, 1, 5));
    const org = this.#org(dice);
    this.#told(this.#scene.system.store.ack(org, ids));
    return ids.join(" ");
  }

  retry(dice: Dice): string {
    const event = dice.one(this.#recent(dice));
    if (!event) return "none";
    const { store } = this.#scene.system;
    const found = store.event(event.org, event.id)?.deliveries ?? [];
    const delivery = dice.one(found);
    if (!delivery) return "none";
    this.#told(store.retryDelivery(event.org, delivery.id));
    return `${event.seq} ${delivery.status}`;
  }

  replay(dice: Dice): string {
    const input = {
      sinceMs: this.#scene.time.wallMs - dice.of(MINUTE, HOUR, 24 * HOUR),
      untilMs: null,
      statuses: dice.of(...REPLAYED),
      eventTypes: null,
      missingOnly: dice.chance(0.3),
    };
    const { store } = this.#scene.system;
    const what = this.#ofEndpoint(dice, ({ org, id }) => store.createReplay(org, id, input));
    return `${what} ${input.missingOnly ? "missing" : input.statuses}`;
  }

  lease(dice: Dice): string {
    const org = this.#org(dice);
    const input = {
      max: dice.whole(1, 20),
      leaseMs: dice.of(SECOND, 30 * SECOND, 5 * MINUTE, HOUR),
      type: dice.chance(0.2) ? "order.*" : null,
    };
    this.#told(
      this.#scene.system.store.lease(org, input).then((leased) => {
        if (leased.kind === "done" && leased.value.id !== null)
          this.#leases.push({ org, id: leased.value.id });
        return leased;
      }),
    );
    return JSON.stringify(input);
  }

  ofLease(dice: Dice): string {
    const lease = dice.one(this.#leases.slice(-4));
    if (!lease) return "none";
    const { org, id } = lease;
    const { store } = this.#scene.system;
    const kind = dice.of("ack", "ack", "release", "releaseLater", "extend");
    const ids = dice.chance(0.6) ? null : this.#someIds(dice, 3);
    if (kind === "ack") this.#told(store.ackLease(org, id, ids));
    else if (kind === "release") this.#told(store.releaseLease(org, id, ids, 0));
    else if (kind === "releaseLater") this.#told(store.releaseLease(org, id, ids, dice.of(SECOND, MINUTE)));
    else this.#told(store.extendLease(org, id, dice.of(SECOND, MINUTE, HOUR)));
    return kind;
  }

  deleteEvents(dice: Dice): string {
    const ids = this.#someIds(dice, 1);
    this.#told(this.#scene.system.store.deleteEvents(this.#org(dice), ids));
    return ids.join(" ");
  }

  prune(dice: Dice): string {
    this.#told(this.#scene.system.store.prune(this.#scene.time.wallMs - dice.of(HOUR, 24 * HOUR)));
    return "";
  }

  crash(dice: Dice): string {
    const byMs = dice.chance(0.3) ? this.#setClock(dice) : 0;
    this.#leases = this.#leases.slice(-8);
    this.#scene.receivers.forgetAll();
    this.#calls.clear();
    this.#scene.system.crash();
    return byMs === 0 ? "" : `clock by ${byMs} ms`;
  }

  restart(dice: Dice): string {
    if (this.#scene.system.isDiskFull) return "not on a full disk";
    const byMs = dice.chance(0.3) ? this.#setClock(dice) : 0;
    this.#scene.time.settle(Promise.allSettled(this.#calls)); // requests in flight are answered first
    this.#scene.system.restart();
    return byMs === 0 ? "" : `clock by ${byMs} ms`;
  }

  clock(dice: Dice): string {
    return `by ${this.#setClock(dice)} ms`;
  }

  disk(dice: Dice): string {
    const { system, time, onDisk } = this.#scene;
    system.isDiskFull = true;
    onDisk();
    const ms = Math.round(dice.of(5, 2 * SECOND, MINUTE) * dice.random());
    time.pass(ms);
    system.isDiskFull = false;
    onDisk();
    return `full for ${ms} ms`;
  }

  wait(dice: Dice): string {
    const ms = Math.round(dice.of(SECOND, 30 * SECOND, 5 * MINUTE) * dice.random());
    this.#scene.time.pass(ms);
    return `${ms} ms`;
  }

  longWait(dice: Dice): string {
    const ms = Math.round(dice.of(HOUR, 6 * HOUR, 30 * HOUR, 130 * HOUR) * dice.random());
    this.#scene.time.pass(ms);
    return `${ms} ms`;
  }

  #event(dice: Dice) {
    return {
      org: this.#org(dice),
      type: dice.of(...TYPES),
      dedupId: dice.chance(0.1) ? `dedup-${dice.whole(1, 9)}` : null,
      payload: '{"n":1}',
      deliverAtMs: dice.chance(0.05)
        ? this.#scene.time.wallMs + Math.round(HIDDEN_MS_MAX * dice.random())
        : null,
    };
  }

  #mood(dice: Dice): Mood {
    return dice.chance(0.4) ? "well" : dice.of(...moods);
  }

  #org(dice: Dice): number {
    const [first = 0, second = first] = this.#scene.orgs;
    return dice.chance(1 / OTHERS) ? second : first;
  }

  #setClock(dice: Dice): number {
    const byMs = Math.round(dice.of(SECOND, 10 * MINUTE, 26 * HOUR) * (dice.random() * 2 - 1));
    this.#scene.time.setWall(byMs);
    return byMs;
  }

  #newUrl(n: number): string {
    return `https://receiver.example/${n}/0`;
  }

  #nextUrl(url: string): string {
    const [, start = "", version = "0"] = /^(.*\/)(\d+)$/.exec(url) ?? [];
    return `${start}${Number(version) + 1}`;
  }

  #endpoint(dice: Dice): SeenEndpoint | undefined {
    return dice.one(this.#scene.ledger.endpoints.filter(({ isDeleted }) => !isDeleted));
  }

  #ofEndpoint(dice: Dice, act: (endpoint: SeenEndpoint) => unknown): string {
    const endpoint = this.#endpoint(dice);
    if (!endpoint) return "none";
    const acted = act(endpoint);
    if (acted instanceof Promise) this.#told(acted);
    return `${endpoint.endpoint}`;
  }

  #recent(dice: Dice) {
    const { events } = this.#scene.ledger;
    return dice.chance(0.7) ? events.slice(-12) : events;
  }

  #someIds(dice: Dice, count: number): string[] {
    return Array.from({ length: count }, () => dice.one(this.#recent(dice))?.id ?? "").filter(Boolean);
  }

  /** A call may be refused, and its answer may be lost; it never fails. */
  #told(call: Promise<Written<unknown> | object>): void {
    this.#calls.add(call);
    call
      .catch((error: unknown) => this.#scene.report(`a call failed: ${error}`))
      .finally(() => this.#calls.delete(call));
  }
}

const STEPS: { readonly [K in Kind]: (this: Script, dice: Dice) => string } = Script.prototype;
