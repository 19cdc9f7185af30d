// The one timer of events with a deliver_at: it rings when the next of them is to appear. Far-future events cost nothing
// meanwhile, but a look each hour, since the clock may be set.

const LOOK_MS_MAX = 60 * 60 * 1000;

export class Appearances {
  /** Lets appear what is due; gives when the next is, null when none is hidden. */
  readonly #appear: () => Promise<number | null>;
  #timer: ReturnType<typeof setTimeout> | null = null;
  #atMs = Number.POSITIVE_INFINITY;
  #stopped = false;

  constructor(appear: () => Promise<number | null>) {
    this.#appear = appear;
  }

  /** An event was hidden until then. */
  expect(atMs: number): void {
    if (atMs >= this.#atMs || this.#stopped) return;
    this.#atMs = atMs;
    if (this.#timer) clearTimeout(this.#timer);
    const waitMs = Math.min(Math.max(atMs - Date.now(), 0), LOOK_MS_MAX);
    this.#timer = setTimeout(() => void this.look(), waitMs);
  }

  /** Lets appear what is due, and waits for the next. */
  async look(): Promise<void> {
    this.#atMs = Number.POSITIVE_INFINITY;
    const nextMs = await this.#appear();
    if (nextMs !== null) this.expect(nextMs);
  }

  stop(): void {
    this.#stopped = true;
    if (this.#timer) clearTimeout(this.#timer);
  }
}
