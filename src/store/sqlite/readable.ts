// Who waits for something to read, by organization: long polls and streams. They are called back once for all that one
// turn of the loop brings, after its commits.

export class Readable {
  readonly #listeners = new Map<number, Set<() => void>>();
  readonly #told = new Set<number>();

  /** Returns how to stop listening. */
  listen(org: number, listener: () => void): () => void {
    const listeners = this.#listeners.get(org) ?? new Set();
    this.#listeners.set(org, listeners);
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#listeners.get(org) === listeners) this.#listeners.delete(org);
    };
  }

  /** Something was committed for the consumers of this organization. */
  tell(org: number): void {
    if (!this.#listeners.has(org) || this.#told.has(org)) return;
    this.#told.add(org);
    if (this.#told.size === 1) setImmediate(() => this.#callBack());
  }

  #callBack(): void {
    const orgs = [...this.#told];
    this.#told.clear();
    for (const org of orgs) for (const listener of [...(this.#listeners.get(org) ?? [])]) listener();
  }
}
