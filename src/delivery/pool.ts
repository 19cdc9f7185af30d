// Connections that wait for the next request to the same origin. The one used last goes out first, so that those that a
// burst left behind grow old. One timer for the oldest of all; none when nothing waits.
import type { Connection, ConnectionOwner } from "./connection.ts";

/** Shorter than the 60-75 s of common servers and load balancers, so that mostly it is we who close an idle connection. */
const IDLE_MS = 30_000;
/** As many as may wait for a quick answer at once (slots.ts). */
const IDLE_PER_ORIGIN_MAX = 64;
/** A descriptor each, and over TLS 60 KB; beyond it the oldest goes. */
const IDLE_MAX = 1_000;

export class ConnectionPool implements ConnectionOwner {
  readonly #byOrigin = new Map<string, Connection[]>();
  /** In the order in which they came to rest. */
  readonly #byAge = new Set<Connection>();
  #timer: ReturnType<typeof setTimeout> | null = null;

  take(origin: string): Connection | null {
    const resting = this.#byOrigin.get(origin);
    for (let last = resting?.at(-1); last !== undefined; last = resting?.at(-1)) {
      this.#forget(last);
      if (last.isOpen) return last;
      last.destroy();
    }
    return null;
  }

  keep(connection: Connection): void {
    const resting = this.#byOrigin.get(connection.origin) ?? [];
    if (resting.length >= IDLE_PER_ORIGIN_MAX || !connection.isOpen) {
      connection.destroy();
      return;
    }
    if (this.#byAge.size >= IDLE_MAX) this.#closeOldest();
    if (resting.length === 0) this.#byOrigin.set(connection.origin, resting);
    resting.push(connection);
    connection.idleSinceMs = performance.now();
    this.#byAge.add(connection);
    connection.rest(this);
    this.#setTimer();
  }

  /** What comes unasked would be taken for the answer to the next request. */
  received(_bytes: Buffer, connection: Connection): void {
    this.#forget(connection);
    connection.destroy();
  }

  ended(_error: Error | null, connection: Connection): void {
    this.#forget(connection);
    connection.destroy();
  }

  close(): void {
    while (this.#closeOldest());
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #forget(connection: Connection): void {
    this.#byAge.delete(connection);
    const resting = this.#byOrigin.get(connection.origin) ?? [];
    if (resting.at(-1) === connection) resting.pop();
    else resting.splice(resting.indexOf(connection), 1);
    if (resting.length === 0) this.#byOrigin.delete(connection.origin);
  }

  #closeOldest(): boolean {
    const [oldest] = this.#byAge;
    if (oldest === undefined) return false;
    this.#forget(oldest);
    oldest.destroy();
    return true;
  }

  /** It stays as it is when the oldest goes out again, and looks anew when it rings. */
  #setTimer(): void {
    if (this.#timer !== null) return;
    const [oldest] = this.#byAge;
    if (oldest === undefined) return;
    const restMs = oldest.idleSinceMs + IDLE_MS - performance.now();
    this.#timer = setTimeout(() => this.#ring(), Math.max(1, Math.ceil(restMs)));
    this.#timer.unref();
  }

  #ring(): void {
    this.#timer = null;
    const nowMs = performance.now();
    for (const connection of this.#byAge) {
      if (nowMs - connection.idleSinceMs < IDLE_MS) break;
      this.#forget(connection);
      connection.destroy();
    }
    this.#setTimer();
  }
}
