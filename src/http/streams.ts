// Streams of events (server-sent events). A stream reads from the store only when its client takes more, so a slow one
// holds no more than one page (128 KiB, or one event). Surprise: streams that ask for the same types share what a commit costs: one
// listener, and one read and one text for all that stand at the same place. All of them share one timer, which runs only
// while there is a stream.

import type { Store, StreamPosition } from "../store/store.ts";
import {
  farewellOf,
  GOODBYE,
  greetingOf,
  heartbeatOf,
  pageOfEvents,
  type StreamPage,
} from "./event_stream_text.ts";
import { HttpProblem, type ProblemCode } from "./problem.ts";
import type { Turns } from "./turns.ts";

const STREAMS_PER_ORGANIZATION_MAX = 2_000;
const STREAMS_MAX = 10_000;
const RETRY_AFTER = "5";
const EVENTS_PER_PAGE = 100;
/** A larger page is read again by each stream: kept for every type that somebody asks for, they could fill the memory. */
const SHARED_BYTES_MAX = 64 * 1024;

type Reads = Pick<Store, "onReadable" | "streamEnd" | "streamAfter" | "keyRecord">;

/** `heartbeatMs`: a comment goes out after so long. `stuckMs`: a client that takes nothing is let go after so long. */
const DEFAULT_TIMES = { heartbeatMs: 15_000, stuckMs: 60_000 };

function groupName(org: number, type: string | null): string {
  return `${org} ${type ?? ""}`;
}

/** Streams of one organization and type. */
type Group = {
  readonly streams: Set<Stream>;
  readonly stopListening: () => void;
  commits: number;
  /** What lies behind a position, as of so many commits. */
  page: { readonly from: StreamPosition; readonly commits: number; readonly told: StreamPage } | null;
};

type StreamOptions = {
  readonly org: number;
  readonly type: string | null;
  /** Null: from now on. */
  readonly after: StreamPosition | null;
  readonly keyId: string;
  /** Called once, when no more will be sent. */
  readonly onEnd: () => void;
};

type Stream = StreamOptions & {
  readonly group: Group;
  position: StreamPosition;
  toldPosition: StreamPosition | null;
  /** Wakes the pull that waits; null while there is none: the client has not taken what was given last. */
  wake: (() => void) | null;
  isHeartbeatDue: boolean;
  givenMs: number;
  /** What ends it is sent instead of more events. */
  farewell: Uint8Array | null;
  isOver: boolean;
  controller: ReadableStreamDefaultController<Uint8Array> | null;
};

type Look = Uint8Array | "look_again";

export class Streams {
  readonly #reads: Reads;
  readonly #times: typeof DEFAULT_TIMES;
  readonly #groups = new Map<string, Group>();
  readonly #perOrganization = new Map<number, number>();
  readonly #turns: Turns;
  readonly #open = new Set<Stream>();
  #timer: Timer | null = null;
  #isClosed = false;

  constructor(reads: Reads, turns: Turns, times = DEFAULT_TIMES) {
    this.#reads = reads;
    this.#turns = turns;
    this.#times = times;
  }

  /** The body of one stream. 429 when there are too many. */
  open(options: StreamOptions): ReadableStream<Uint8Array> {
    const { org } = options;
    const own = this.#perOrganization.get(org) ?? 0;
    if (own >= STREAMS_PER_ORGANIZATION_MAX || this.#open.size >= STREAMS_MAX) {
      throw new HttpProblem("too_many_streams", { headers: { "retry-after": RETRY_AFTER } });
    }
    const group = this.#groupOf(options);
    const stream: Stream = {
      ...options,
      group,
      position: options.after ?? this.#reads.streamEnd(org),
      toldPosition: null,
      wake: null,
      isHeartbeatDue: false,
      givenMs: performance.now(),
      farewell: this.#isClosed ? GOODBYE : null,
      isOver: false,
      controller: null,
    };
    this.#perOrganization.set(org, own + 1);
    group.streams.add(stream);
    this.#open.add(stream);
    this.#timer ??= setInterval(() => this.#beat(), this.#times.heartbeatMs);
    const source = {
      start: (controller: ReadableStreamDefaultController<Uint8Array>) => {
        stream.controller = controller;
      },
      pull: () => this.#pull(stream),
      cancel: () => this.#forget(stream),
    };
    return new ReadableStream<Uint8Array>(source, { highWaterMark: 0 });
  }

  /** How many are open, for a gauge. */
  get size(): number {
    return this.#open.size;
  }

  /** Ends all of them, with a word to say so. */
  close(): void {
    this.#isClosed = true;
    for (const stream of [...this.#open]) this.#dismiss(stream, GOODBYE);
  }

  #groupOf({ org, type }: StreamOptions): Group {
    const name = groupName(org, type);
    const known = this.#groups.get(name);
    if (known !== undefined) return known;
    const streams = new Set<Stream>();
    const group: Group = {
      streams,
      stopListening: this.#reads.onReadable(org, () => {
        group.commits++;
        for (const stream of streams) stream.wake?.();
      }),
      commits: 0,
      page: null,
    };
    this.#groups.set(name, group);
    return group;
  }

  /** The client takes more: resolves when there was something to give. */
  async #pull(stream: Stream): Promise<void> {
    while (!stream.isOver) {
      const next = await this.#turns.run(() => this.#lookOrWait(stream));
      if (next === "look_again" || stream.isOver) continue;
      return this.#give(stream, next);
    }
  }

  /** Listens in the same breath as it looks: no commit is missed between the two. */
  #lookOrWait(stream: Stream): Look | Promise<Look> {
    if (stream.isOver) return "look_again";
    const next = this.#next(stream);
    if (next !== null) return next;
    return new Promise((resolve) => {
      stream.wake = () => {
        stream.wake = null;
        resolve("look_again");
      };
    });
  }

  #give(stream: Stream, bytes: Uint8Array): void {
    stream.givenMs = performance.now();
    stream.controller?.enqueue(bytes);
    if (stream.farewell === null) return;
    stream.controller?.close();
    this.#forget(stream);
  }

  /** What goes out next; null: nothing until something happens. */
  #next(stream: Stream): Look | null {
    const { org, farewell, toldPosition } = stream;
    if (farewell !== null) return farewell;
    if (toldPosition === null) {
      stream.toldPosition = stream.position;
      return greetingOf(org, stream.position);
    }
    const { bytes, position, more } = this.#page(stream);
    stream.position = position;
    if (bytes === null && more) return "look_again";
    if (bytes === null && !stream.isHeartbeatDue) return null;
    stream.isHeartbeatDue = false;
    stream.toldPosition = position;
    if (bytes !== null) return bytes;
    const isMoved = position.seq !== toldPosition.seq || position.appeared !== toldPosition.appeared;
    return heartbeatOf(org, isMoved ? position : null);
  }

  #page({ group, org, type, position: from }: Stream): StreamPage {
    const { page, commits } = group;
    const isSame = page?.commits === commits && page.from.seq === from.seq;
    if (isSame && page.from.appeared === from.appeared) return page.told;
    const told = pageOfEvents(org, this.#reads.streamAfter(org, from, type, EVENTS_PER_PAGE));
    const isShared = (told.bytes?.length ?? 0) <= SHARED_BYTES_MAX;
    group.page = isShared ? { from, commits, told } : null;
    return told;
  }

  #beat(): void {
    const nowMs = performance.now();
    const refusals = new Map<string, ProblemCode | null>();
    for (const stream of this.#open) {
      const { keyId } = stream;
      if (!refusals.has(keyId)) refusals.set(keyId, this.#refusal(keyId));
      const code = refusals.get(keyId) ?? null;
      if (code !== null) this.#dismiss(stream, farewellOf(code));
      else if (stream.wake !== null) this.#remind(stream);
      else if (nowMs - stream.givenMs > this.#times.stuckMs) this.#dismiss(stream, farewellOf("slow_reader"));
    }
  }

  /** A key that was deleted, or lost its scope, must not go on to read. */
  #refusal(keyId: string): ProblemCode | null {
    const key = this.#reads.keyRecord(keyId);
    if (key === null) return "invalid_api_key";
    if (key.expiresAtMs !== null && key.expiresAtMs <= Date.now()) return "expired_api_key";
    if (key.organization.disabled) return "organization_disabled";
    return key.scopes.includes("consume") ? null : "insufficient_scope";
  }

  #remind(stream: Stream): void {
    stream.isHeartbeatDue = true;
    stream.wake?.();
  }

  /** A client that takes what comes is told why by its pull; one that does not, behind what it has not taken. */
  #dismiss(stream: Stream, farewell: Uint8Array): void {
    if (stream.isOver) return;
    stream.farewell = farewell;
    if (stream.wake === null) this.#give(stream, farewell);
    else stream.wake();
  }

  #forget(stream: Stream): void {
    if (stream.isOver) return;
    stream.isOver = true;
    stream.wake?.();
    const { org, type, group } = stream;
    this.#open.delete(stream);
    group.streams.delete(stream);
    const rest = (this.#perOrganization.get(org) ?? 1) - 1;
    if (rest > 0) this.#perOrganization.set(org, rest);
    else this.#perOrganization.delete(org);
    if (group.streams.size === 0) {
      group.stopListening();
      this.#groups.delete(groupName(org, type));
    }
    if (this.#open.size === 0 && this.#timer !== null) {
      clearInterval(this.#timer);
      this.#timer = null;
    }
    stream.onEnd();
  }
}
