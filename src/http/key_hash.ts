// The only place that spends argon2id, and the gate that rations it. Surprise: one hash runs at a time, on Bun's
// thread pool. Two would take both cores of a small machine away from events; one does about 50 a second.
// What waits is bounded, and one key id's flood makes nobody else wait for more than one hash of it per round.

/**
 * OWASP's minimum for argon2id: 19 MiB, 2 passes, 18-20 ms. Bun's default of 64 MiB takes 75-95 ms, and buys
 * nothing here: these secrets are 256 random bits, not words a person chose. The hash is there for a stolen file.
 */
const argon2id = { algorithm: "argon2id", memoryCost: 19_456, timeCost: 2 } as const;

/** 64 waiting hashes are 1.3 s of work: who comes later is better off with an answer now. */
const DEFAULT_WAITING_MAX = 64;
/** About what both full queues take to drain. */
const RETRY_AFTER_SECONDS = 2;

/** `busy`: nothing was hashed, because too many wait already. */
export type Gated<T> =
  | { readonly kind: "done"; readonly value: T }
  | { readonly kind: "busy"; readonly retryAfterSeconds: number };

/** The argon2id hash of a new key's secret, as `Bun.password` writes it. Not rationed: for a command line. */
export function hashSecret(secret: string): Promise<string> {
  return Bun.password.hash(secret, argon2id);
}

type Job = { readonly proved: boolean; readonly run: () => Promise<void>; readonly refuse: () => void };

/**
 * Hashes one at a time. New keys and keys to verify wait in queues of their own that take turns, new keys first: a
 * storm of verifications costs an administrator one hash of waiting, and a tenant that makes keys in a loop takes
 * at most half of the gate. Within a queue, lanes (key ids; whoever new keys are for) are served in turn.
 */
export class HashGate {
  #running = false;
  #creating: FairQueue;
  #verifying: FairQueue;
  #creatingIsNext = true;
  #hashesTotal = 0;

  /** @param waitingMax bound of each of the two queues */
  constructor(waitingMax = DEFAULT_WAITING_MAX) {
    this.#creating = new FairQueue(waitingMax);
    this.#verifying = new FairQueue(waitingMax);
  }

  /** Hashes started since the process began, for a counter. */
  get hashesTotal(): number {
    return this.#hashesTotal;
  }

  /** Hashes that wait, for a gauge. */
  get waiting(): number {
    return this.#creating.size + this.#verifying.size;
  }

  /** The hash of a new key's secret. `lane` is who asked: an organization's id, an address, "admin". */
  hash(secret: string, lane: string): Promise<Gated<string>> {
    return this.#enter(this.#creating, lane, false, () => hashSecret(secret));
  }

  /**
   * Whether `secret` belongs to `secretHash`. `proved`: this text was right before, so it goes ahead of guesses at
   * the same key id, and in a full queue any guess makes room for it. Rejects when the stored hash is not one (a damaged row).
   */
  verify(keyId: string, secret: string, secretHash: string, proved: boolean): Promise<Gated<boolean>> {
    return this.#enter(this.#verifying, keyId, proved, () => Bun.password.verify(secret, secretHash));
  }

  #enter<T>(queue: FairQueue, lane: string, proved: boolean, work: () => Promise<T>): Promise<Gated<T>> {
    const { promise, resolve, reject } = Promise.withResolvers<Gated<T>>();
    const run = async () => {
      try {
        resolve({ kind: "done", value: await work() });
      } catch (error) {
        reject(error);
      }
    };
    const refuse = () => resolve({ kind: "busy", retryAfterSeconds: RETRY_AFTER_SECONDS });
    queue.push(lane, { proved, run, refuse });
    this.#runNext();
    return promise;
  }

  #runNext(): void {
    if (this.#running) return;
    const job = this.#take();
    if (job === undefined) return;
    this.#running = true;
    this.#hashesTotal++;
    void job.run().then(() => {
      this.#running = false;
      this.#runNext();
    });
  }

  #take(): Job | undefined {
    const isCreating = this.#verifying.size === 0 || (this.#creatingIsNext && this.#creating.size > 0);
    this.#creatingIsNext = !isCreating;
    return (isCreating ? this.#creating : this.#verifying).shift();
  }
}

/** Lanes served in turn. When it is full, the longest lane loses its latest job, so that a flood pays for itself. */
class FairQueue {
  #sizeMax: number;
  #size = 0;
  /** The lane to be served next is the first; a served lane goes to the end. None is empty. */
  #lanes = new Map<string, Job[]>();

  constructor(sizeMax: number) {
    this.#sizeMax = sizeMax;
  }

  get size(): number {
    return this.#size;
  }

  push(lane: string, job: Job): void {
    const jobs = this.#lanes.get(lane) ?? [];
    if (this.#size >= this.#sizeMax && !this.#makeRoom(jobs.length, job.proved)) {
      job.refuse();
      return;
    }
    if (job.proved) jobs.unshift(job);
    else jobs.push(job);
    this.#size++;
    this.#lanes.set(lane, jobs);
  }

  shift(): Job | undefined {
    for (const [lane, jobs] of this.#lanes) {
      const job = jobs.shift();
      this.#lanes.delete(lane);
      if (jobs.length > 0) this.#lanes.set(lane, jobs);
      if (job !== undefined) this.#size--;
      return job;
    }
    return undefined;
  }

  /**
   * Refuses the latest guess of the longest lane. A newcomer that is a guess itself is worth that only when its own
   * lane stays the shorter one.
   */
  #makeRoom(ownLength: number, proved: boolean): boolean {
    let longest: [string, Job[]] = ["", []];
    for (const lane of this.#lanes) {
      if (lane[1].length > longest[1].length && lane[1].at(-1)?.proved === false) longest = lane;
    }
    const [lane, jobs] = longest;
    if (jobs.length === 0 || (!proved && jobs.length <= ownLength + 1)) return false;
    jobs.pop()?.refuse();
    this.#size--;
    if (jobs.length === 0) this.#lanes.delete(lane);
    return true;
  }
}
