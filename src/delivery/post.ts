// One attempt from the dispatcher's side: takes what to send and where, sends it, and says as a settle op what
// became of it.

import { msOfSeq } from "../base/id.ts";
import type { SettleOp } from "../store/sqlite/op.ts";
import type { Parcel, Target } from "../store/sqlite/read_due.ts";
import { parseSigningSecret } from "../webhook/secret.ts";
import { type AttemptOutcome, verdict } from "../webhook/verdict.ts";
import type { Sender } from "./send.ts";

export type PostOptions = {
  readonly sender: Sender;
  readonly retryScheduleMs: readonly number[];
  readonly timeoutMs: number;
  readonly onAttempt: (outcome: AttemptOutcome, result: SettleOp["outcome"]) => void;
};

export class Post {
  readonly #options: PostOptions;
  /** Parsed once per endpoint and secret. */
  readonly #keys = new Map<number, { readonly secret: string; readonly key: Uint8Array }>();

  constructor(options: PostOptions) {
    this.#options = options;
  }

  /** Sends once. Null when the attempt was given up because the process stops: then nothing is to be settled. */
  async attempt(event: number, target: Target, parcel: Parcel): Promise<SettleOp | null> {
    const { sender, timeoutMs } = this.#options;
    const attemptNumber = parcel.attempts + 1;
    const outcome = await sender.send({
      url: target.url,
      timeoutMs,
      attemptNumber,
      event: { id: parcel.id, type: parcel.type, timestampMs: msOfSeq(event), data: parcel.payload },
      secretKeys: [this.#key(target)],
    });
    if (outcome.error?.kind === "cancelled") return null;
    return this.#settleOp(event, target.endpoint, attemptNumber, outcome);
  }

  #settleOp(event: number, endpoint: number, attemptsMade: number, outcome: AttemptOutcome): SettleOp {
    const { retryScheduleMs, onAttempt } = this.#options;
    const result = verdict(outcome, {
      schedule: retryScheduleMs,
      attemptsMade,
      nowMs: Date.now(),
      random: Math.random(),
    });
    onAttempt(outcome, result.kind);
    return {
      op: "settle",
      event,
      endpoint,
      outcome: result.kind,
      startedAtMs: Math.round(outcome.startedAtMs),
      durationMs: Math.round(outcome.durationMs),
      responseStatus: outcome.status,
      error: result.kind === "delivered" ? null : `${result.error.kind}: ${result.error.message}`,
      responseExcerpt: outcome.responseExcerpt,
      dueAtMs: result.kind === "retry" ? Math.round(result.dueAtMs) : null,
    };
  }

  #key({ endpoint, signingSecret }: Target): Uint8Array {
    const known = this.#keys.get(endpoint);
    if (known?.secret === signingSecret) return known.key;
    const parsed = parseSigningSecret(signingSecret);
    if (!parsed.ok) throw new Error("a stored signing secret cannot be read");
    this.#keys.set(endpoint, { secret: signingSecret, key: parsed.key });
    return parsed.key;
  }
}
