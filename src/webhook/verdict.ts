// What becomes of a delivery after an attempt. Pure: what happened goes in, the next state comes out.
//
// A delivery waits until it is due. An attempt then ends in one outcome, and the outcome in one of four verdicts:
//   delivered    a whole answer came in time with a 2xx status (or its first 64 KB: more is not read). Final.
//   gone         the answer was 410: the endpoint is to be disabled. What happens to this delivery is the caller's
//                choice; holding it with the rest of a disabled endpoint's, this attempt counted, loses nothing.
//   retry        anything else, while the schedule has a delay left: it waits again, for `delayMs`.
//   dead_letter  anything else, when the schedule is used up. Final, until a person asks for a retry or a replay.
// A redirect is a failure like a 500: following it would send a signed event to an address nobody checked. An answer
// that breaks off or does not end in time is a failure whatever its status, since delivery is at least once.
// 429 and 503 may ask for more time with Retry-After: it takes the place of the schedule's delay when it is longer,
// but earns no attempt beyond the schedule.
import { retryAfterMs, retryDelayMs } from "./backoff.ts";

/** Why an attempt got no whole answer. Stable words: they are stored, shown and counted. */
export type AttemptErrorKind =
  | "invalid_request" // it could not even be written: the URL or the endpoint's own headers
  | "blocked_address" // the egress guard refused it
  | "dns_failed"
  | "connection_refused"
  | "connection_reset" // closed by the other side before the answer was whole
  | "connection_failed" // unreachable, or no socket to be had here
  | "tls_failed"
  | "timeout" // over everything: name, connection, handshake, headers, body
  | "bad_response" // not HTTP, or HTTP that contradicts itself
  | "cancelled"; // we stopped sending: says nothing about the endpoint and should not be settled

/** The above, and the whole answers that are no success. */
export type FailureKind = AttemptErrorKind | "http_status" | "redirect" | "gone";

export interface AttemptOutcome {
  /** Unix milliseconds. */
  startedAtMs: number;
  durationMs: number;
  /** Of the answer, also when its body then failed; null when there was none. */
  status: number | null;
  /** Null when an answer came in whole, whatever its status. `message` is one sentence for people. */
  error: { kind: AttemptErrorKind; message: string } | null;
  /** The first 1 KB of the answer's body; null when there was no answer. */
  responseExcerpt: string | null;
  /** The header as it came. */
  retryAfter: string | null;
}

export interface Failure {
  kind: FailureKind;
  message: string;
}

export type Verdict =
  | { kind: "delivered" }
  | { kind: "retry"; delayMs: number; error: Failure }
  | { kind: "dead_letter"; error: Failure }
  | { kind: "gone"; error: Failure };

export interface VerdictInput {
  /** Delays in milliseconds; the first follows the first attempt. */
  schedule: readonly number[];
  /** Including this one. */
  attemptsMade: number;
  /** Of the wall clock: Retry-After may be a date. */
  nowMs: number;
  /** 0..1, 1 not included. */
  random: number;
}

/** The next state of a delivery whose attempt number `attemptsMade` ended in `outcome`; see the top of this file. */
export function verdict(outcome: AttemptOutcome, input: VerdictInput): Verdict {
  const error = failureOf(outcome);
  if (error === null) return { kind: "delivered" };
  if (error.kind === "gone") return { kind: "gone", error };
  const scheduledMs = retryDelayMs(input.schedule, input.attemptsMade, input.random);
  if (scheduledMs === null) return { kind: "dead_letter", error };
  return {
    kind: "retry",
    delayMs: Math.max(scheduledMs, askedMs(outcome, input.nowMs)),
    error,
  };
}

/** Why an attempt failed, or null when it delivered. */
export function failureOf({ status, error }: AttemptOutcome): Failure | null {
  // Before `error`: a 410 means what it says, whatever became of its body.
  if (status === 410) return { kind: "gone", message: "The endpoint answered 410 Gone." };
  if (error !== null) return error;
  if (status === null) return { kind: "bad_response", message: "The endpoint gave no answer." };
  if (status >= 200 && status <= 299) return null;
  if (status >= 300 && status <= 399) {
    return { kind: "redirect", message: `The endpoint answered ${status}; redirects are not followed.` };
  }
  return { kind: "http_status", message: `The endpoint answered ${status}.` };
}

/** Milliseconds that the endpoint asked to be left alone, by Retry-After on 429 and 503; 0 when it did not. */
export function askedMs({ status, retryAfter }: AttemptOutcome, nowMs: number): number {
  return status === 429 || status === 503 ? (retryAfterMs(retryAfter, nowMs) ?? 0) : 0;
}
