// One attempt: writes the request, reads as much of the answer as matters, and says what happened. It never throws and
// never decides what comes next (src/webhook/verdict.ts does). The HTTP client is our own, since node's costs 60-95 µs of
// processor time an attempt and this one 20; fetch, which is as cheap, has 256 requests at once and no lookup of ours.
// A surprise: an idle connection that the receiver closed while our request was on its way is no failure of the
// endpoint, so that request is sent again.
import type { Socket } from "node:net";
import type { Egress } from "../webhook/guard.ts";
import type { AttemptOutcome } from "../webhook/verdict.ts";
import { Answer } from "./answer.ts";
import { type AttemptError, lost, problem, unresolved } from "./attempt_error.ts";
import { Connection, type ConnectionOwner } from "./connection.ts";
import { Dial, type DialEvents } from "./dial.ts";
import { ConnectionPool } from "./pool.ts";
import { guardedResolver, type Lookup, type Resolve, type Resolved } from "./resolve.ts";
import { createRouter, type Route } from "./route.ts";
import { createRequestWriter, type RequestContent } from "./write_request.ts";

export interface Attempt extends RequestContent {
  url: string;
  /** One deadline over name, connection, handshake, headers and body. */
  timeoutMs: number;
}

export interface SenderOptions {
  egress: Egress;
  userAgentVersion: string;
  /** DNS and the system, unless a test brings its own names. */
  lookup?: Lookup;
}

export interface Sender {
  /** Sends one signed attempt; resolves with what happened, at the latest when `timeoutMs` is over. Never rejects. */
  send(attempt: Attempt): Promise<AttemptOutcome>;
  /** Drops idle connections; attempts in flight, and any later one, end as `cancelled`. May be called twice. */
  close(): void;
}

/** What a sender's exchanges share. */
interface Shared {
  pool: ConnectionPool;
  resolve: Resolve;
  inFlight: Exchange[];
}

/** A sender with its own pool of connections. */
export function createSender(options: SenderOptions): Sender {
  const routeOf = createRouter(options.egress);
  const write = createRequestWriter(options.userAgentVersion);
  const resolve = guardedResolver(options.egress, options.lookup);
  const shared: Shared = { pool: new ConnectionPool(), resolve, inFlight: [] };
  let closed = false;

  async function send(attempt: Attempt): Promise<AttemptOutcome> {
    const startedAtMs = Date.now();
    if (closed) return unsent(startedAtMs, problem("cancelled"));
    const routed = routeOf(attempt.url);
    if (!routed.ok) return unsent(startedAtMs, routed.error);
    const request = write(attempt, routed.route.requestStart, startedAtMs);
    if (request === null) return unsent(startedAtMs, problem("invalid_request"));
    return new Exchange(routed.route, request, attempt.timeoutMs, shared).run(startedAtMs);
  }

  function close(): void {
    closed = true;
    for (const exchange of [...shared.inFlight]) exchange.cancel();
    shared.pool.close();
  }

  return { send, close };
}

function unsent(startedAtMs: number, error: AttemptError): AttemptOutcome {
  return { startedAtMs, durationMs: 0, status: null, error, responseExcerpt: null, retryAfter: null };
}

/** One request and its answer. It settles exactly once: whole answer, enough of it, failure, deadline or cancellation. */
class Exchange implements ConnectionOwner, DialEvents {
  readonly #route: Route;
  readonly #request: string | Buffer;
  readonly #timeoutMs: number;
  readonly #shared: Shared;
  readonly #answer = new Answer();
  readonly #done = Promise.withResolvers<AttemptOutcome>();
  readonly #startedTick = performance.now();
  #startedAtMs = 0;
  #place = 0;
  #deadline: ReturnType<typeof setTimeout> | undefined;
  #dial: Dial | null = null;
  #connection: Connection | null = null;
  #isSettled = false;

  constructor(route: Route, request: string | Buffer, timeoutMs: number, shared: Shared) {
    this.#route = route;
    this.#request = request;
    this.#timeoutMs = timeoutMs;
    this.#shared = shared;
  }

  run(startedAtMs: number): Promise<AttemptOutcome> {
    this.#startedAtMs = startedAtMs;
    // A timer each is 0.2 µs of an attempt's 20; a list of deadlines, which one timer would serve, is not less.
    this.#deadline = setTimeout(() => this.#expire(), this.#timeoutMs);
    this.#place = this.#shared.inFlight.push(this) - 1;
    const kept = this.#shared.pool.take(this.#route.origin);
    if (kept === null) this.#connect();
    else this.#send(kept);
    return this.#done.promise;
  }

  cancel(): void {
    this.#settle(problem("cancelled"));
  }

  opened(socket: Socket): void {
    this.#dial = null;
    this.#send(new Connection(this.#route.origin, socket));
  }

  failed(error: Error | null): void {
    this.#settle(lost(error));
  }

  received(bytes: Buffer): void {
    const answer = this.#answer;
    answer.read(bytes);
    const { over } = answer;
    if (over === null) return;
    if (over === "malformed") this.#settle(problem("bad_response", answer.fault ?? undefined));
    else this.#settle(over === "broken" ? brokenOff() : null);
  }

  ended(error: Error | null, connection: Connection): void {
    const answer = this.#answer;
    if (error === null) answer.end();
    if (answer.status !== null) this.#settle(answer.over === "whole" ? null : brokenOff());
    else if (isStale(connection, error, answer)) this.#connect();
    else this.#settle(lost(error));
  }

  #connect(): void {
    const { host, protocol } = this.#route;
    this.#connection = null;
    this.#shared.resolve(host, protocol, (resolved) => this.#dialTo(resolved));
  }

  #dialTo(resolved: Resolved): void {
    if (this.#isSettled) return;
    if (resolved.ok) this.#dial = new Dial(this.#route, resolved.addresses, this);
    else this.#settle(unresolved(resolved.kind, this.#route));
  }

  #send(connection: Connection): void {
    this.#connection = connection;
    connection.send(this.#request, this);
  }

  #expire(): void {
    const isSent = this.#connection?.isSent === true;
    const stage = isSent ? "an answer came" : "the request was sent";
    const missed = this.#answer.status === null ? stage : "the answer was whole";
    this.#settle(problem("timeout", `${this.#timeoutMs} ms passed before ${missed}.`));
  }

  #settle(error: AttemptError | null): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    clearTimeout(this.#deadline);
    this.#forget();
    this.#dial?.cancel();
    this.#leave();
    this.#done.resolve(this.#outcome(error));
  }

  /** The last one takes its place. (A Set holds on to what was deleted: it cost 20 full collections in 100 000 attempts.) */
  #forget(): void {
    const { inFlight } = this.#shared;
    const last = inFlight.pop();
    if (last === undefined || last === this) return;
    inFlight[this.#place] = last;
    last.#place = this.#place;
  }

  #outcome(error: AttemptError | null): AttemptOutcome {
    const { status, retryAfter } = this.#answer;
    const hasBegun = status !== null;
    return {
      startedAtMs: this.#startedAtMs,
      durationMs: Math.round(performance.now() - this.#startedTick),
      status,
      error,
      responseExcerpt: hasBegun ? this.#answer.excerpt() : null,
      retryAfter: hasBegun ? retryAfter : null,
    };
  }

  /**
   * Sent whole and answered whole, it gives its connection back. Any other loses it: what would still come on it, or
   * still has to go (a receiver that answers at once and never reads the rest), is nobody's any more.
   */
  #leave(): void {
    const connection = this.#connection;
    this.#connection = null;
    if (connection === null) return;
    if (this.#answer.keepsConnection && connection.isSent) this.#shared.pool.keep(connection);
    else connection.destroy();
  }
}

/** Whether a kept connection had died before any answer to this. The second try is on a new one: there is no third. */
function isStale(connection: Connection, error: Error | null, answer: Answer): boolean {
  return connection.isKept && answer.rawBytes === 0 && lost(error).kind === "connection_reset";
}

function brokenOff(): AttemptError {
  return problem("connection_reset", "The answer broke off before its end.");
}
