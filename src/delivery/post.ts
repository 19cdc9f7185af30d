// One attempt from the dispatcher's side: takes what to send and where, sends it, and says as a settle op what
// became of it.

import { hasFreeDescriptor } from "../base/descriptors.ts";
import { msOfSeq } from "../base/id.ts";
import type { SettleOp } from "../store/sqlite/op.ts";
import type { Parcel, Target } from "../store/sqlite/read_due.ts";
import {
  type AttemptErrorKind,
  type AttemptOutcome,
  askedMs,
  failureOf,
  verdict,
} from "../webhook/verdict.ts";
import { steadyNowMs } from "./clock.ts";
import type { Answered } from "./lane.ts";
import type { Sender } from "./send.ts";

/** `error`: its kind, a colon, a sentence; null when it was delivered. */
export type TestOutcome = {
  readonly delivered: boolean;
  readonly responseStatus: number | null;
  readonly durationMs: number;
  readonly error: string | null;
};

export type PostOptions = {
  readonly sender: Sender;
  readonly retryScheduleMs: readonly number[];
  readonly timeoutMs: number;
  readonly onAttempt: (outcome: AttemptOutcome, result: SettleOp["outcome"]) => void;
};

export class Post {
  readonly #options: PostOptions;

  constructor(options: PostOptions) {
    this.#options = options;
  }

  /**
   * Sends once. In two cases nothing is to be settled: the attempt was given up because the process stops, or it had no
   * file descriptor for a socket, which is not the endpoint's fault.
   */
  async attempt(event: number, target: Target, parcel: Parcel): Promise<Answered | "given_up" | "starved"> {
    const { sender, timeoutMs } = this.#options;
    const outcome = await sender.send({
      url: target.url,
      timeoutMs: target.timeoutMs ?? timeoutMs,
      attemptNumber: parcel.attempts + 1,
      event: { id: parcel.id, type: parcel.type, timestampMs: msOfSeq(event), data: parcel.payload },
      secretKeys: keysAt(target, Date.now()),
      extraHeaders: target.headers,
    });
    if (outcome.error?.kind === "cancelled") return "given_up";
    if (isForWantOfSocket(outcome) && !hasFreeDescriptor()) return "starved";
    return this.#answered(event, target.endpoint, parcel, outcome);
  }

  /** Sends a `webhook.test` event that is stored nowhere; its outcome is for the one who asked. */
  async test(target: Target): Promise<TestOutcome> {
    const nowMs = Date.now();
    const outcome = await this.#options.sender.send({
      url: target.url,
      timeoutMs: target.timeoutMs ?? this.#options.timeoutMs,
      attemptNumber: 1,
      event: { id: Bun.randomUUIDv7(), type: "webhook.test", timestampMs: nowMs, data: testData(target) },
      secretKeys: keysAt(target, nowMs),
      extraHeaders: target.headers,
    });
    const failure = failureOf(outcome);
    return {
      delivered: failure === null,
      responseStatus: outcome.status,
      durationMs: outcome.durationMs,
      error: failure && `${failure.kind}: ${failure.message}`,
    };
  }

  #answered(event: number, endpoint: number, parcel: Parcel, outcome: AttemptOutcome): Answered {
    const { retryScheduleMs, onAttempt } = this.#options;
    const clockMs = steadyNowMs();
    const nowMs = Date.now();
    const result = verdict(outcome, {
      schedule: retryScheduleMs,
      attemptsMade: parcel.attempts - parcel.attempts_before + 1,
      nowMs,
      random: Math.random(),
    });
    onAttempt(outcome, result.kind);
    const op: SettleOp = {
      op: "settle",
      event,
      endpoint,
      round: parcel.attempts_before,
      outcome: result.kind,
      startedAtMs: Math.round(outcome.startedAtMs),
      durationMs: Math.round(outcome.durationMs),
      responseStatus: outcome.status,
      error: result.kind === "delivered" ? null : `${result.error.kind}: ${result.error.message}`,
      responseExcerpt: outcome.responseExcerpt,
      dueAtMs: result.kind === "retry" ? Math.round(clockMs + result.delayMs) : null,
      health: null,
      hopeless: false,
      clockMs: Math.round(clockMs),
    };
    return { op, askedMs: askedMs(outcome, nowMs) };
  }
}

/** Surprise: Bun tells EMFILE as a refused connection, or as a name that does not resolve. */
function isForWantOfSocket({ error }: AttemptOutcome): boolean {
  return error !== null && SOCKET_ERRORS.has(error.kind);
}

const SOCKET_ERRORS: ReadonlySet<AttemptErrorKind> = new Set([
  "connection_refused",
  "connection_failed",
  "dns_failed",
]);

/** The keys that sign now: during an overlap the old ones too. */
function keysAt({ signingKeys }: Target, nowMs: number): readonly Uint8Array[] {
  return signingKeys
    .filter(({ expiresAtMs }) => expiresAtMs === null || expiresAtMs > nowMs)
    .map(({ key }) => key);
}

function testData({ id }: Target): string {
  return JSON.stringify({ message: "This is a test of the endpoint.", endpoint_id: id });
}
