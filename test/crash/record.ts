// What the load knows by itself, apart from the server: what was asked, what was answered, and what was in flight when
// the server was killed, which may or may not have happened. The checker holds the server against it. What an answer
// told is a promise from then on; what the checker sees once ("adopted") is one too.

/** Of a change that cannot be taken back: not asked for, asked for and perhaps done, answered. */
export type Asked = "no" | "sent" | "done";

/** One event that was posted. `op` is the post's number; it stands in the payload, so no two payloads are the same. */
export type EventRecord = {
  readonly op: number;
  readonly org: OrgRecord;
  readonly type: string;
  /** The JSON text as it was sent. */
  readonly payload: string;
  readonly dedupId: string | null;
  /** Of the batch that it was sent with, null when it was sent alone. */
  readonly batch: number | null;
  /** Not in the inbox before this time (deliver_at), milliseconds since 1970; 0: at once. */
  readonly hiddenUntilMs: number;
  /** Endpoints that matched its type and were not being changed, from before it was sent until now. */
  meantFor: readonly EndpointAt[];
  /** Null until it was answered or adopted. */
  id: string | null;
  ack: Asked;
  deletion: Asked;
  /** When the answer to either was here, milliseconds since 1970. */
  overMs: number;
};

/** An endpoint as it stood when an event was sent. */
export type EndpointAt = { readonly endpoint: EndpointRecord; readonly changes: number };

export type EndpointState = {
  /** The end of its URL. */
  readonly version: number;
  readonly types: readonly string[];
  readonly status: "active" | "disabled" | "deleted";
};

/** What its receiver does: takes all; refuses some attempts; refuses some events always; refuses everything. */
export type Fate = "good" | "flaky" | "picky" | "bad";

export class EndpointRecord {
  readonly name: string;
  readonly org: OrgRecord;
  readonly fate: Fate;
  /** Gets its events in the order of acceptance, one by one. */
  readonly isOrdered: boolean;
  /** Every secret that was told. */
  readonly secrets: string[];
  /** False from a lost rotation until the next one that was answered. */
  secretIsKnown = true;
  id: string | null = null;
  state: EndpointState;
  /** What it is after the change that is in flight. */
  pending: EndpointState | null = null;
  /** Counts changes asked for and answered: between two equal counts, nothing was changed. */
  changes = 0;
  /** Events that its receiver answered with 200. */
  readonly taken = new Set<string>();
  /** The greatest id of those: an id is greater than those of events that were accepted before. */
  lastTaken = "";
  /** Since the last kill: versions that may be sent to, and whether anything may. */
  versions = new Set<number>();
  mayBeSentTo = true;

  constructor(
    given: { name: string; org: OrgRecord; fate: Fate; isOrdered: boolean; secret: string },
    state: EndpointState,
  ) {
    this.name = given.name;
    this.org = given.org;
    this.fate = given.fate;
    this.isOrdered = given.isOrdered;
    this.secrets = [given.secret];
    this.state = state;
    this.versions.add(state.version);
  }

  /** A change is sent. */
  ask(pending: EndpointState): void {
    this.pending = pending;
    this.changes++;
    this.versions.add(pending.version);
    if (pending.status === "active") this.mayBeSentTo = true;
  }

  /** It is known to be in this state, by an answer or by looking. */
  settle(state: EndpointState): void {
    // An answer that comes while its organization is erased changes nothing any more.
    if (this.org.erasure === "no" || state.status === "deleted") this.state = state;
    this.pending = null;
    this.changes++;
  }

  /** The server was killed: nothing of the old process is sent from here on. */
  killed(): void {
    const may = [this.state, ...(this.pending ? [this.pending] : [])];
    this.versions = new Set(may.filter(({ status }) => status !== "deleted").map(({ version }) => version));
    this.mayBeSentTo = may.some(({ status }) => status === "active");
  }

  get isDeletionAsked(): boolean {
    return this.state.status === "deleted" || this.pending?.status === "deleted";
  }
}

/** `alive`: answered to be there; `dead`: answered to be gone; `unknown`: a change is in flight. */
export type KeyRecord = { readonly keyId: string; readonly text: string; is: "alive" | "dead" | "unknown" };

/** Events handed out under one lease. `untilMs`: nobody else gets them before, as far as answers promise. */
export type LeaseRecord = {
  readonly id: string;
  readonly org: OrgRecord;
  readonly held: Set<string>;
  fromMs: number;
  untilMs: number;
};

export class OrgRecord {
  readonly name: string;
  readonly id: string;
  /** Never rotated or deleted. */
  readonly key: string;
  /** Consumers acknowledge its events, so not all of its webhooks need to be sent. */
  readonly isConsumed: boolean;
  /** May be erased. */
  readonly isTemporary: boolean;
  erasure: Asked = "no";
  readonly events = new Map<string, EventRecord>();
  /** Posted and not answered. */
  readonly inFlight = new Set<EventRecord>();
  /** The event that holds each dedup id, as answers told. */
  readonly dedup = new Map<string, string>();
  readonly endpoints: EndpointRecord[] = [];
  readonly keys: KeyRecord[] = [];
  /** Keys that may have been made without an answer. */
  keysLost = 0;
  /** Who holds an event. */
  readonly leased = new Map<string, LeaseRecord>();
  /** By then every lease that is not in this record (its answer was lost) has run out. */
  unseenUntilMs = 0;
  readonly replays: string[] = [];

  constructor(given: { name: string; id: string; key: string; isConsumed: boolean; isTemporary: boolean }) {
    this.name = given.name;
    this.id = given.id;
    this.key = given.key;
    this.isConsumed = given.isConsumed;
    this.isTemporary = given.isTemporary;
  }

  /** What was asked at this time may hold events for so long, unseen. */
  holdsUnseen(ms: number): void {
    this.unseenUntilMs = Math.max(this.unseenUntilMs, Date.now() + ms);
  }

  /** Endpoints that this type is meant for, and that are not being changed. */
  matching(type: string): readonly EndpointAt[] {
    return this.endpoints
      .filter(({ state, pending }) => pending === null && state.status !== "deleted" && matches(state, type))
      .map((endpoint) => ({ endpoint, changes: endpoint.changes }));
  }
}

/** Those of them that were not changed meanwhile. */
export function unchanged(meantFor: readonly EndpointAt[]): readonly EndpointAt[] {
  return meantFor.filter(({ endpoint, changes }) => endpoint.changes === changes);
}

function matches({ types }: EndpointState, type: string): boolean {
  return types.some((one) => (one.endsWith("*") ? type.startsWith(one.slice(0, -1)) : type === one));
}

export type Counts = {
  kills: number;
  killsInStart: number;
  killsInStop: number;
  databases: number;
  answered: number;
  refused: number;
  accepted: number;
  lost: number;
  adopted: number;
  acked: number;
  leases: number;
  webhooks: number;
  changes: number;
  erased: number;
  expired: number;
  livesWithSeals: number;
  livesWithCheckpoints: number;
};

export function noCounts(): Counts {
  return {
    ...{
      kills: 0,
      killsInStart: 0,
      killsInStop: 0,
      databases: 0,
      livesWithSeals: 0,
      livesWithCheckpoints: 0,
    },
    ...{
      answered: 0,
      refused: 0,
      accepted: 0,
      lost: 0,
      adopted: 0,
      acked: 0,
      leases: 0,
      webhooks: 0,
      changes: 0,
    },
    ...{ erased: 0, expired: 0 },
  };
}

/** Everything about one database. */
export class World {
  readonly counts: Counts;
  readonly orgs: OrgRecord[] = [];
  /** By the name in their URL. */
  readonly endpoints = new Map<string, EndpointRecord>();
  /** By the number in their payload; what was sent and is known not to have happened is not here. */
  readonly byOp = new Map<number, EventRecord>();
  /** Names of organizations that may be there besides: their making was not answered, or is none of the load's. */
  readonly orgsBeside = new Set<string>();
  /** The event id that a webhook carried, by the number in its payload, before the post was answered. */
  readonly sentAs = new Map<number, string>();
  readonly violations: string[] = [];
  #op = 0;

  constructor(counts: Counts) {
    this.counts = counts;
  }

  nextNumber(): number {
    return ++this.#op;
  }

  violated(what: string): void {
    this.violations.push(what);
  }

  /** Organizations that the load goes on with. */
  get active(): readonly OrgRecord[] {
    return this.orgs.filter(({ erasure }) => erasure === "no");
  }

  /** The event is stored under this id, by an answer or because it was seen. */
  accept(event: EventRecord, id: string): void {
    const { org, op, dedupId } = event;
    org.inFlight.delete(event);
    if (org.events.has(id)) this.violated(`event id ${id} was given to two events`);
    const sentAs = this.sentAs.get(op);
    if (sentAs !== undefined && sentAs !== id) {
      this.violated(`post ${op} of ${org.name} is event ${id}, and its webhook said ${sentAs}`);
    }
    event.id = id;
    org.events.set(id, event);
    if (dedupId !== null) this.holdsDedup(org, dedupId, id);
  }

  /** An answer says which event has this dedup id. */
  holdsDedup(org: OrgRecord, dedupId: string, id: string): void {
    const known = org.dedup.get(dedupId);
    if (known === undefined) org.dedup.set(dedupId, id);
    else if (known !== id) {
      this.violated(`dedup id ${dedupId} of ${org.name} was event ${known}, and then event ${id}`);
    }
  }

  /** It did not happen, and must not show up later. */
  refused(event: EventRecord): void {
    event.org.inFlight.delete(event);
    this.byOp.delete(event.op);
  }
}
