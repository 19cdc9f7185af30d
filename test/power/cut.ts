// Power cuts: the disk of a recorded run as it may be at many moments of it, each opened by the store's engine, some by
// the whole program.

import { mkdirSync, rmSync } from "node:fs";
import path from "node:path";
import { Random } from "../crash/random.ts";
import { TestServer } from "../help/server.ts";
import { tempDir } from "../help/temp.ts";
import type { Call } from "./calls.ts";
import { openImage, writeImage } from "./check_image.ts";
import { Disk, type Fate, fates } from "./disk.ts";
import { type Durability, type Life, type Lives, promisesOf, recordLives } from "./lives.ts";
import { Order } from "./order.ts";

export type PowerOptions = {
  readonly durability: Durability;
  readonly seed: number;
  readonly images: number;
  /** Each so many images the whole program is started on one. */
  readonly startEach: number;
  /** Posted in each life. */
  readonly events: number;
};

export type PowerReport = {
  readonly faults: readonly string[];
  readonly calls: number;
  readonly syncs: number;
  /** Events that an answer named. */
  readonly answered: number;
  readonly images: number;
  readonly starts: number;
  /** Lives that found unsynced commits of a killed one in the WAL. */
  readonly carried: number;
  readonly checkpoints: number;
  /** Images that lack an event that had been answered: DURABILITY=normal may, and full must not. */
  readonly imagesWithLoss: number;
  /** Where everything is, when something is wrong. */
  readonly dir: string;
};

/** Records the lives, and cuts the power at many moments of them. */
export async function cutPower(options: PowerOptions): Promise<PowerReport> {
  const dir = tempDir();
  const random = new Random(options.seed);
  const recorded = await recordLives(dir, options.durability, options.events, random.fork("load"));
  const cuts = new Cuts(dir, options, recorded, random.fork("cuts"));
  const report = await cuts.run();
  if (report.faults.length === 0) rmSync(dir, { recursive: true, force: true });
  return report;
}

class Cuts {
  readonly #dir: string;
  readonly #options: PowerOptions;
  readonly #recorded: Lives;
  readonly #random: Random;
  readonly #disk = new Disk();
  readonly #order: Order;
  readonly #promised = new Set<string>();
  readonly #acked = new Set<string>();
  readonly #committed: readonly string[];
  readonly #faults: string[] = [];
  #images = 0;
  #starts = 0;
  #imagesWithLoss = 0;

  constructor(dir: string, options: PowerOptions, recorded: Lives, random: Random) {
    this.#dir = dir;
    this.#options = options;
    this.#recorded = recorded;
    this.#random = random;
    const isFull = options.durability === "full";
    this.#order = new Order(this.#disk, path.join(recorded.root, "made/data"), isFull);
    this.#committed = this.#whole();
  }

  async run(): Promise<PowerReport> {
    const { lives, answered } = this.#recorded;
    const calls = lives.flatMap((life) => life.calls);
    const moments = this.#moments(calls);
    let at = 0;
    for (const [n, life] of lives.entries()) {
      for (const call of life.calls) {
        this.#faults.push(...this.#order.faultsOf(call));
        this.#promise(call);
        this.#disk.apply(call);
        const images = moments.get(at++) ?? 0;
        for (let i = 0; i < images && this.#faults.length === 0; i++)
          await this.#cut(`call ${at} of life ${n + 1}`);
      }
      this.#endLife(life, n + 1);
      this.#order.endLife();
    }
    for (const id of answered) {
      if (!this.#promised.has(id)) this.#faults.push(`the answer that named ${id} is not in the trace`);
    }
    return {
      ...{ faults: this.#faults, calls: calls.length, answered: this.#promised.size, dir: this.#dir },
      ...{ images: this.#images, starts: this.#starts, imagesWithLoss: this.#imagesWithLoss },
      carried: this.#order.carried,
      checkpoints: this.#order.checkpoints,
      syncs: calls.filter(({ kind }) => kind === "sync").length,
    };
  }

  /** Half of the images right before and right after a sync, half of them anywhere; by the call that they follow. */
  #moments(calls: readonly Call[]): Map<number, number> {
    const syncs = calls.flatMap(({ kind }, at) => (kind === "sync" ? [at] : []));
    const at = Array.from({ length: this.#options.images }, (_, n) => {
      if (n % 2 === 0) return this.#random.int(0, calls.length - 1);
      return this.#random.pick(syncs) - (n % 4 === 1 ? 1 : 0);
    });
    return new Map([...Map.groupBy(at, (one) => one)].map(([one, all]) => [one, all.length]));
  }

  #promise(call: Call): void {
    const { events, acked } = promisesOf(call);
    for (const id of events) this.#promised.add(id);
    if (acked !== null) this.#acked.add(acked);
  }

  async #cut(when: string): Promise<void> {
    const fate = fates[this.#images % fates.length] ?? "lost";
    const n = this.#images++;
    const dir = path.join(this.#dir, `image-${n}`);
    const image = this.#disk.image(fate, this.#random);
    writeImage(image, this.#recorded.root, dir);
    mkdirSync(path.join(dir, "made/data"), { recursive: true }); // nothing of it may have been left
    const isWhole = n % this.#options.startEach === 0;
    const faults = isWhole ? await this.#start(path.join(dir, "made/data")) : [];
    faults.push(...this.#check(path.join(dir, "made/data"), fate));
    this.#faults.push(...faults.map((fault) => `${when}, unsynced writes ${fate} (${dir}): ${fault}`));
    rmSync(dir, { recursive: true, force: true });
    if (faults.length > 0) writeImage(image, this.#recorded.root, dir); // as it was before anyone opened it
  }

  #check(dataDir: string, fate: Fate): string[] {
    const { faults, events, acked } = openImage(dataDir);
    const found = new Set(events);
    const lost = [...this.#promised].filter((id) => !found.has(id));
    const unacked = [...this.#acked].filter((id) => found.has(id) && !acked.has(id));
    const all = [...faults];
    const strays = events.findIndex((id, n) => id !== this.#committed[n]);
    if (strays >= 0) all.push(`event ${strays + 1} is not what was committed then: a gap`);
    if (lost.length + unacked.length === 0) return all;
    this.#imagesWithLoss++;
    // When only the process dies, nothing is lost, whatever was synced.
    if (this.#options.durability === "normal" && fate !== "kept") return all;
    return [
      ...all,
      `${lost.length} of ${this.#promised.size} answered events and ${unacked.length} acks are lost`,
    ];
  }

  /** The whole program: it starts, says that it is ready, writes, and stops in good order. */
  async #start(dataDir: string): Promise<string[]> {
    this.#starts++;
    const server = await TestServer.start({ dataDir, env: { DISABLE_WEBHOOK_DELIVERY: "true" } });
    const ready = await server.api().get("/health/ready");
    await server.organization();
    const code = await server.stop();
    if (ready.status === 200 && code === 0) return [];
    return [`the program was ${ready.status} when it had started and ended with ${code}`];
  }

  /** The record is held against the real files: a call that it did not understand would show. */
  #endLife({ files, unfinished }: Life, n: number): void {
    for (const call of unfinished) {
      if (call.kind !== "write" || call.offset === null) continue;
      const real = files.get(call.path)?.subarray(call.offset, call.offset + call.data.length);
      if (real?.equals(call.data)) this.#disk.apply(call);
    }
    for (const name of new Set([...files.keys(), ...this.#disk.files])) {
      if (name.endsWith("-shm")) continue;
      const [real, seen] = [files.get(name), this.#disk.contents(name)];
      if (real === undefined || seen === null || !real.equals(seen)) {
        this.#faults.push(
          `after life ${n} ${name} has ${real?.length} bytes, the record ${seen?.length}, or others`,
        );
      }
    }
  }

  /** All events in the order of their commits, from the files as the last life left them. */
  #whole(): readonly string[] {
    const { root, lives } = this.#recorded;
    const dir = path.join(this.#dir, "whole");
    writeImage(lives.at(-1)?.files ?? new Map(), root, dir);
    return openImage(path.join(dir, "made/data")).events;
  }
}
