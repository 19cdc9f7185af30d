// One call to the server, and when it is made again. Only what is safe is repeated: a refusal that says that nothing
// was stored, or a call that does the same when it is made twice. The key goes to the given address and nowhere else.

import { mayPass, notThisService, refusal, TriggersError } from "./error.ts";
import { backoffMs, Limit, pause, TimeOver } from "./pause.ts";

export interface ConnectionOptions {
  /** Where the server is, such as `http://127.0.0.1:3000`. */
  readonly url: string;
  readonly key: string;
  /** How long one call may take, besides what it was told to wait; 30 s unless told. */
  readonly timeoutMs?: number;
  /** How often a call that may be repeated is repeated; 4 times unless told, 0 for never. */
  readonly retriesMax?: number;
  /** A longer `Retry-After` than this is not waited for: the call fails, and its error tells it. 120 s unless told. */
  readonly retryAfterMaxSeconds?: number;
  /** Hears of each failed try that is followed by another. */
  readonly onRetry?: (error: TriggersError, waitMs: number) => void;
  /** Instead of the runtime's own, for a proxy or certificates of your own. */
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>;
}

export interface Ask {
  readonly method: "GET" | "POST";
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | undefined>>;
  /** JSON text; a function is asked before each try. */
  readonly body?: string | (() => string);
  /** Made twice, it does the same as once. */
  readonly isIdempotent: boolean;
  readonly signal?: AbortSignal | undefined;
  /** How long the server may wait with its answer, on request. */
  readonly waitSeconds?: number;
  /** May change what the next try sends; true: it need not wait. */
  readonly adapt?: (error: TriggersError) => boolean;
}

const TIMEOUT_MS = 30_000;
const RETRIES_MAX = 4;
const RETRY_AFTER_MAX_SECONDS = 120;
const RETRY_FIRST_MS = 250;
const RETRY_MAX_MS = 10_000;
/** With these the server says that it has stored nothing. A 503 of a proxy does not say so. */
const NOTHING_STORED = ["rate_limited", "too_many_attempts", "overloaded", "storage_unavailable"];

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #url: string;

  constructor(options: ConnectionOptions) {
    if (options.key === "") throw new TypeError("the key is missing");
    // The runtime's own error would repeat a key that no header can carry.
    if (!/^[\x21-\x7e]+$/.test(options.key))
      throw new TypeError("the key has white space or a character that an HTTP header cannot carry");
    this.#options = options;
    this.#url = options.url.replace(/\/+$/, "");
  }

  /** The text of the answer and what it holds. Rejects with a TriggersError, or with the signal's reason. */
  async ask(ask: Ask): Promise<{ text: string; body: Record<string, unknown> }> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#once(ask);
      } catch (error) {
        const waitMs = this.#waitMs(error, ask, attempt);
        if (waitMs === null) throw error;
        this.#options.onRetry?.(error as TriggersError, waitMs);
        if (waitMs > 0) await pause(waitMs, ask.signal);
      }
    }
  }

  /** An answer whose body the caller reads, as long as it takes. Not repeated. */
  async open(ask: Ask, headers: Record<string, string>, limit: Limit): Promise<Response> {
    try {
      limit.start(this.#timeoutMs(ask));
      const answer = await this.#fetch(ask, headers, limit.signal);
      if (answer.ok && answer.body !== null) return answer;
      throw answer.ok ? notThisService(answer.status) : refusal(answer, await answer.text());
    } catch (error) {
      throw asTold(error, ask.signal);
    } finally {
      limit.stop();
    }
  }

  async #once(ask: Ask): Promise<{ text: string; body: Record<string, unknown> }> {
    const limit = new Limit(ask.signal);
    try {
      limit.start(this.#timeoutMs(ask));
      const answer = await this.#fetch(ask, {}, limit.signal);
      const text = await answer.text();
      if (!answer.ok) throw refusal(answer, text);
      return { text, body: bodyOf(text, answer.status) };
    } catch (error) {
      throw asTold(error, ask.signal);
    } finally {
      limit.end();
    }
  }

  #fetch(ask: Ask, headers: Record<string, string>, signal: AbortSignal): Promise<Response> {
    const { method, path, query = {}, body } = ask;
    const search = new URLSearchParams();
    for (const [name, value] of Object.entries(query))
      if (value !== undefined) search.set(name, String(value));
    const url = `${this.#url}${path}${search.size === 0 ? "" : `?${search}`}`;
    const text = typeof body === "function" ? body() : body;
    const send = this.#options.fetch ?? ((where: string, init: RequestInit) => fetch(where, init));
    return send(url, {
      method,
      headers: {
        "x-api-key": this.#options.key,
        ...(text === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      // fetch would take x-api-key to wherever a redirect points.
      redirect: "manual",
      signal,
      ...(text === undefined ? {} : { body: text }),
    });
  }

  #timeoutMs({ waitSeconds = 0 }: Ask): number {
    return (this.#options.timeoutMs ?? TIMEOUT_MS) + waitSeconds * 1_000;
  }

  /** How long to wait before the next try; null when there is none. */
  #waitMs(error: unknown, ask: Ask, attempt: number): number | null {
    if (attempt >= (this.#options.retriesMax ?? RETRIES_MAX) || !mayPass(error)) return null;
    if (!NOTHING_STORED.includes(error.code) && !isSafe(error, ask)) return null;
    if (ask.adapt?.(error)) return 0;
    const ownMs = backoffMs(attempt, RETRY_FIRST_MS, RETRY_MAX_MS);
    const seconds = error.retryAfterSeconds;
    if (seconds === null) return ownMs;
    const isTooLong = seconds > (this.#options.retryAfterMaxSeconds ?? RETRY_AFTER_MAX_SECONDS);
    // Never earlier than told; the jitter comes on top.
    return isTooLong ? null : seconds * 1_000 + Math.min(ownMs, 100 + seconds * 100);
  }
}

/** Whether the server said that nothing of this call was stored: it refused it, or had no room for it. */
export function saysNothingStored({ status, code }: TriggersError): boolean {
  return NOTHING_STORED.includes(code) || (status >= 400 && status < 500);
}

/** A 500 is the server's mistake, and would be the same again. */
function isSafe({ status }: TriggersError, { isIdempotent }: Ask): boolean {
  return isIdempotent && status !== 500;
}

function bodyOf(text: string, status: number): Record<string, unknown> {
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body === "object" && body !== null) return body as Record<string, unknown>;
  } catch {
    // A page of something else.
  }
  throw notThisService(status);
}

/** What went wrong on the way, as a TriggersError; the caller's own abort stays what it is. */
export function asTold(error: unknown, signal: AbortSignal | undefined): unknown {
  if (error instanceof TriggersError) return error;
  if (signal?.aborted) return signal.reason;
  if (error instanceof TimeOver)
    return new TriggersError({
      status: 0,
      code: "timeout",
      detail: `The server did not answer: ${error.message}.`,
    });
  const detail = `The server cannot be reached: ${reasonOf(error)}`;
  return new TriggersError({ status: 0, code: "unreachable", detail, cause: error });
}

/** Node says "fetch failed", and why only in its cause. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  if (!(cause instanceof Error)) return error.message;
  const code = "code" in cause && cause.code !== undefined ? ` (${String(cause.code)})` : "";
  return `${cause.message || error.message}${code}`;
}
