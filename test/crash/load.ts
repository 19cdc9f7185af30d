// The mixed load of one life of the server: producers, consumers, a manager for each organization and an operator, all
// at once, each step drawn by its own source of random numbers. It ends when the server is dead.

import { Operator } from "./administer.ts";
import type { Calls } from "./calls.ts";
import { Consumer } from "./consume.ts";
import { Manager } from "./manage.ts";
import { type Batches, Producer } from "./publish.ts";
import type { Random } from "./random.ts";
import type { OrgRecord, World } from "./record.ts";

export type Strength = { readonly producers: number; readonly consumers: number; readonly batches: Batches };

export class Load {
  readonly #world: World;
  readonly #calls: Calls;
  readonly #random: Random;
  readonly #receiverUrl: string;
  #over = false;

  constructor(world: World, calls: Calls, random: Random, receiverUrl: string) {
    this.#world = world;
    this.#calls = calls;
    this.#random = random;
    this.#receiverUrl = receiverUrl;
  }

  /** No step begins any more; those that run are answered or lost. */
  end(): void {
    this.#over = true;
  }

  /** Resolves when the last step is over. */
  async run({ producers, consumers, batches }: Strength): Promise<void> {
    await Promise.all([
      ...Array.from({ length: producers }, (_, n) =>
        this.#produce(this.#random.fork(`producer ${n}`), batches),
      ),
      ...Array.from({ length: consumers }, (_, n) => this.#consume(this.#random.fork(`consumer ${n}`))),
      ...this.#world.active.map((org) => this.#manage(org, this.#random.fork(`manager ${org.name}`))),
      this.#operate(this.#random.fork("operator")),
    ]);
  }

  async #produce(random: Random, batches: Batches): Promise<void> {
    const producer = new Producer(this.#world, this.#calls, random, batches);
    await this.#repeat(random, producer, () => true);
  }

  async #consume(random: Random): Promise<void> {
    const consumer = new Consumer(this.#world, this.#calls, random);
    await this.#repeat(random, consumer, ({ isConsumed }) => isConsumed);
  }

  async #manage(org: OrgRecord, random: Random): Promise<void> {
    const manager = new Manager(this.#world, this.#calls, random, this.#receiverUrl);
    while (!this.#over && org.erasure === "no") {
      await manager.step(org);
      // Were settings changed all the time, no endpoint would stand still for as long as an event takes.
      await Bun.sleep(random.int(0, 40));
    }
  }

  async #operate(random: Random): Promise<void> {
    const operator = new Operator(this.#world, this.#calls, random);
    while (!this.#over) {
      await operator.step();
      await Bun.sleep(random.int(50, 400)); // an operator is slow, and 60 organizations a minute can be made
    }
  }

  async #repeat(
    random: Random,
    actor: { step(org: OrgRecord): Promise<void> },
    isFor: (org: OrgRecord) => boolean,
  ): Promise<void> {
    while (!this.#over) {
      const org = random.pickAny(this.#world.active.filter(isFor));
      if (org !== undefined) await actor.step(org);
      await turn();
    }
  }
}

/** Calls to a server that is dead fail at once: others have to hear of it. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
