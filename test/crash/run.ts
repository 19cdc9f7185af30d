// One database's time: lives of the server under load, each ended by SIGKILL, in the start, under load or in the stop;
// after each the files and what the server says are held against the record; at the end everything owed is waited for.

import { rmSync } from "node:fs";
import { whenStopped } from "../../bench/rig/interrupted.ts";
import { PROGRAM } from "../help/command.ts";
import { TestServer } from "../help/server.ts";
import { tempDir } from "../help/temp.ts";
import { Operator } from "./administer.ts";
import { Calls } from "./calls.ts";
import { eventsNaming, type Files, lookAtFiles } from "./check_disk.ts";
import { EventChecker } from "./check_events.ts";
import { SettingsChecker } from "./check_settings.ts";
import { Drain } from "./drain.ts";
import { Follower } from "./follow.ts";
import { Load } from "./load.ts";
import { Manager } from "./manage.ts";
import { fillOldEvents, OLD_NAME, type OldEvents, RETENTION_DAYS } from "./old_events.ts";
import type { Random } from "./random.ts";
import { type Counts, World } from "./record.ts";
import { Sink } from "./sink.ts";

export type DatabaseRun = { readonly violations: readonly string[]; readonly dataDir: string };

const OLD_EVENTS = 1_200;
/** A life whose moment does not come is ended all the same. */
const LIFE_MS_MAX = 3_000;
const KILL_IN_START = 0.12;
const KILL_IN_STOP = 0.1;
const HEAVY = 0.25;

/** Kills the server so many times on a database of its own; `isLate`: no further kill, the time is up. */
export async function runDatabase(
  random: Random,
  kills: number,
  counts: Counts,
  isLate: () => boolean = () => false,
): Promise<DatabaseRun> {
  const database = new DatabaseTime(random, counts);
  const release = whenStopped(() => database.killServer());
  try {
    await database.begin();
    for (let n = 0; n < kills && database.isGood && !(n > 0 && isLate()); n++) await database.live(n);
    if (database.isGood) await database.end();
  } catch (error) {
    database.world.violated(error instanceof Error ? (error.stack ?? error.message) : String(error));
  } finally {
    await database.close();
    release();
  }
  return { violations: database.world.violations, dataDir: database.dataDir };
}

class DatabaseTime {
  readonly world: World;
  readonly dataDir = tempDir();
  readonly #random: Random;
  readonly #calls: Calls;
  readonly #sink: Sink;
  readonly #manager: Manager;
  readonly #operator: Operator;
  readonly #events: EventChecker;
  readonly #settings: SettingsChecker;
  readonly #env: Record<string, string>;
  readonly #encryptionKeys: readonly string[];
  #server: TestServer | null = null;
  readonly #followers: Follower[] = [];
  #old: OldEvents | null = null;
  /** As the last kill left them. */
  #files: Files | null = null;

  constructor(random: Random, counts: Counts) {
    this.#random = random;
    this.world = new World(counts);
    this.#calls = new Calls(this.world);
    this.#sink = new Sink(this.world);
    this.#manager = new Manager(this.world, this.#calls, random.fork("setup"), this.#sink.url);
    this.#operator = new Operator(this.world, this.#calls, random.fork("setup"));
    this.#events = new EventChecker(this.world, this.#calls);
    this.#settings = new SettingsChecker(this.world, this.#calls, this.#manager, this.#operator);
    // Both keep what was answered when only the process dies.
    const durability = random.chance(0.25) ? "normal" : "full";
    this.#encryptionKeys = random.chance(0.5) ? [random.int(1, 9).toString().repeat(64)] : [];
    this.#env = {
      ...{ WEBHOOK_ALLOW_PRIVATE: "true", RETRY_SCHEDULE: "30ms,60ms,120ms", LOG_LEVEL: "info" },
      ...{ DURABILITY: durability, RETENTION_DAYS },
      ...(this.#encryptionKeys.length > 0 && { ENCRYPTION_KEY: this.#encryptionKeys.join() }),
    };
  }

  get isGood(): boolean {
    return this.world.violations.length === 0;
  }

  async begin(): Promise<void> {
    this.world.counts.databases++;
    this.#old = await fillOldEvents(this.dataDir, this.#encryptionKeys, OLD_EVENTS);
    this.world.orgsBeside.add(OLD_NAME);
    await this.#start();
    for (const isConsumed of [false, true, true]) await this.#operator.makeOrganization(isConsumed, false);
    const [webhooks, both] = this.world.orgs;
    for (const org of [webhooks, both]) if (org) this.#followers.push(new Follower(org, this.world));
    await this.#follow();
    for (const org of [webhooks, webhooks, both]) if (org) await this.#manager.makeEndpoint(org);
  }

  /** From a server that runs to the next one that runs, with a kill between them. */
  async live(n: number): Promise<void> {
    const random = this.#random.fork(`life ${n}`);
    const which = random.next();
    if (which < KILL_IN_START) await this.#killInStart(random);
    else await this.#killUnderLoad(random, which < KILL_IN_START + KILL_IN_STOP);
    if (!this.isGood) return;
    await this.#start();
    await this.#check(random);
  }

  async #start(): Promise<void> {
    this.#server = await TestServer.start({ dataDir: this.dataDir, env: this.#env });
    this.#calls.url = this.#server.url;
    await this.#follow();
  }

  async #follow(): Promise<void> {
    for (const follower of this.#followers) await follower.open(this.#calls.url);
  }

  /** The server that runs is killed at rest, and another one before it says that it listens, or soon after. */
  async #killInStart(random: Random): Promise<void> {
    await this.#server?.kill("SIGKILL");
    this.#server = null;
    this.#sink.killed();
    const child = Bun.spawn([...PROGRAM, "serve"], {
      cwd: this.dataDir,
      env: { PATH: process.env.PATH ?? "", DATA_DIR: this.dataDir, PORT: "0", ...this.#env },
      ...{ stdin: "ignore", stdout: "ignore", stderr: "ignore" },
    });
    await Bun.sleep(random.spread(1, process.env.BIN ? 80 : 500));
    child.kill("SIGKILL");
    await child.exited;
    this.world.counts.killsInStart++;
    await this.#died();
  }

  async #killUnderLoad(random: Random, inStop: boolean): Promise<void> {
    const server = this.#server;
    if (server === null) throw new Error("no server runs");
    const load = new Load(this.world, this.#calls, random, this.#sink.url);
    const loaded = load.run({
      producers: random.pick([1, 4, 16, 48]),
      consumers: random.pick([1, 3, 8]),
      // So many that indexes are sealed and the WAL is copied under it: that takes thousands of events.
      batches: random.chance(HEAVY) ? { share: 0.3, eventsMax: 400 } : { share: 0.15, eventsMax: 40 },
    });
    await this.#moment(random);
    if (inStop) {
      process.kill(server.pid, "SIGTERM");
      await Promise.race([Bun.sleep(random.spread(1, 150)), server.exited]);
    }
    load.end();
    const code = await server.kill("SIGKILL");
    if (inStop && code === null) this.world.counts.killsInStop++;
    this.#server = null;
    await loaded;
    await this.#died();
  }

  /** So many answers, so many webhooks, or so much time after the load began. */
  async #moment(random: Random): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    let left = 0;
    const count = () => {
      if (--left === 0) resolve();
    };
    const kind = random.pick(["answers", "webhooks", "time"]);
    if (kind === "answers") {
      left = random.spread(3, 800);
      this.#calls.onAnswer = count;
    } else if (kind === "webhooks") {
      left = random.spread(1, 300);
      this.#sink.onRequest = count;
    }
    const timer = setTimeout(resolve, kind === "time" ? random.spread(2, 1_000) : LIFE_MS_MAX);
    await promise;
    clearTimeout(timer);
    this.#calls.onAnswer = () => {};
    this.#sink.onRequest = () => {};
  }

  async #died(): Promise<void> {
    this.world.counts.kills++;
    this.#sink.killed();
    await this.#lookAtFiles();
  }

  async #lookAtFiles(): Promise<void> {
    const { counts } = this.world;
    const files = await lookAtFiles(this.dataDir);
    for (const fault of files.faults) this.world.violated(`the database: ${fault}`);
    if (this.#files && files.sealed !== this.#files.sealed) counts.livesWithSeals++;
    if (this.#files && files.bytes !== this.#files.bytes) counts.livesWithCheckpoints++;
    this.#files = files;
  }

  async #check(random: Random): Promise<void> {
    await this.#settings.checkOrganizations();
    for (const org of this.world.active) {
      await this.#settings.check(org);
      await this.#events.check(org);
    }
    const exported = random.pickAny(this.world.active);
    if (exported) await this.#events.checkExport(exported);
  }

  /** No kill comes any more. */
  async end(): Promise<void> {
    this.#sink.calm = true;
    const drain = new Drain(this.world, this.#calls, this.#manager);
    await drain.webhooks();
    await drain.streams(this.#followers);
    for (const org of this.world.active) {
      if (org.isConsumed) await drain.leases(org, this.#events);
      else await this.#events.check(org);
      await this.#events.checkExport(org);
    }
    if (this.#old) await drain.retention(this.#old);
    const code = await this.#server?.stop();
    if (code !== 0) this.world.violated(`the server stopped with exit code ${code}: ${this.#server?.output}`);
    this.#server = null;
    await this.#lookAtFiles();
    for (const { name } of this.world.orgs.filter(({ erasure }) => erasure === "done")) {
      const left = await eventsNaming(this.dataDir, name);
      if (left > 0) this.world.violated(`${left} events of ${name}, which is erased, are in the database`);
    }
  }

  async killServer(): Promise<void> {
    await this.#server?.kill("SIGKILL");
  }

  /** What failed is kept to be looked at. */
  async close(): Promise<void> {
    await this.killServer();
    for (const follower of this.#followers) follower.close();
    this.#sink.stop();
    if (this.isGood) rmSync(this.dataDir, { recursive: true, force: true });
  }
}
