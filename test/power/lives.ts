// Lives of the real server on one data directory, one after the other, each watched from its start to its end: killed
// under load, stopped in good order, killed while an fsync takes its time. Each goes on with what the last one left in
// the system's cache, synced or not. The data directory is the server's to make.

import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { whenStopped } from "../../bench/rig/interrupted.ts";
import { startProcess } from "../../scripts/listening.ts";
import type { Random } from "../crash/random.ts";
import { PROGRAM } from "../help/command.ts";
import { type Receiver, startReceiver } from "../help/receiver.ts";
import { type Api, apiOf } from "../help/server.ts";
import { type Call, readTrace, type Trace, traced } from "./calls.ts";

export type Durability = "full" | "normal";

/** One life, and what its files are when it is over. */
export type Life = Trace & { readonly files: ReadonlyMap<string, Buffer> };

export type Lives = {
  readonly root: string;
  readonly lives: readonly Life[];
  /** Ids that answers told to these clients. */
  readonly answered: ReadonlySet<string>;
};

type End = "killed" | "stopped" | "killed_in_fsync";

const ENDS: readonly End[] = ["killed", "stopped", "killed_in_fsync", "killed_in_fsync", "killed"];
const CLIENTS = 6;
const BATCH_EVENTS = 60;
/** A database in its first hours has few events: what a life does must not depend on it. */
const PAYLOAD_BYTES = 400;
/** From some fsync on, each takes so long, also for a process that is killed in it. */
const FSYNC_SECONDS = 3;
/** No answer for so long: an fsync is being waited for. */
const SILENCE_MS = 1_000;

/** Runs them all; `events` are posted in each. */
export async function recordLives(
  dir: string,
  durability: Durability,
  events: number,
  random: Random,
): Promise<Lives> {
  const root = path.join(dir, "disk");
  mkdirSync(root);
  const receiver = startReceiver();
  const load = new Load(receiver, random);
  const lives: Life[] = [];
  try {
    for (const [n, end] of ENDS.entries()) {
      const trace = path.join(dir, `trace-${n}.txt`);
      // Posts until its fsync hangs, which with DURABILITY=normal no commit's would.
      const isEndless = end === "killed_in_fsync" && durability === "full";
      const count = isEndless ? Number.POSITIVE_INFINITY : events;
      await live({ root, durability, end, trace, random }, (url) => load.run(url, count));
      lives.push({ ...(await readTrace(trace, root)), files: filesOf(root) });
      rmSync(trace);
    }
  } finally {
    receiver.stop();
  }
  return { root, lives, answered: load.answered };
}

type Settings = {
  readonly root: string;
  readonly durability: Durability;
  readonly end: End;
  readonly trace: string;
  readonly random: Random;
};

/** `load` resolves when it is done, or when the server does not answer any more. */
async function live(
  { root, durability, end, trace, random }: Settings,
  load: (url: string) => Promise<void>,
): Promise<void> {
  const dataDir = path.join(root, "made/data");
  const slow = `inject=fsync,fdatasync:delay_enter=${FSYNC_SECONDS}s:when=${random.int(8, 20)}+`;
  const strace = [...traced(trace), ...(end === "killed_in_fsync" ? ["-e", slow] : [])];
  const server = await startProcess([...strace, ...PROGRAM, "serve"], {
    cwd: path.dirname(root),
    env: { DATA_DIR: dataDir, PORT: "0", DURABILITY: durability, WEBHOOK_ALLOW_PRIVATE: "true" },
  });
  const { pid } = JSON.parse(readFileSync(path.join(dataDir, "server.json"), "utf8")) as { pid: number };
  const release = whenStopped(() => process.kill(pid, "SIGKILL"));
  try {
    await load(server.url);
  } finally {
    release();
    process.kill(pid, end === "stopped" ? "SIGTERM" : "SIGKILL");
    await server.child.exited;
  }
}

/** The clients of all lives: each posts again what it got no answer to, as a client with dedup ids does. */
class Load {
  readonly answered = new Set<string>();
  readonly #receiver: Receiver;
  readonly #random: Random;
  #key = "";
  #drawn = 0;
  /** Bodies by their dedup id. */
  #unanswered = new Map<string, object>();

  constructor(receiver: Receiver, random: Random) {
    this.#receiver = receiver;
    this.#random = random;
  }

  async run(url: string, events: number): Promise<void> {
    if (this.#key === "") await this.#begin(url);
    const api = apiOf(url, { "x-api-key": this.#key });
    const until = this.#drawn + events;
    let heardMs = performance.now();
    const clients = Array.from({ length: CLIENTS }, async () => {
      while (this.#drawn < until) {
        if (!(await this.#step(api))) return;
        heardMs = performance.now();
      }
    });
    let isDone = false;
    void Promise.all(clients).then(() => {
      isDone = true;
    });
    while (!isDone && performance.now() - heardMs < SILENCE_MS) await Bun.sleep(5);
  }

  async #begin(url: string): Promise<void> {
    const open = apiOf(url, {});
    const made = await open.post("/api/keys/generate", { organization_name: "Acme", tier: "enterprise" });
    this.#key = made.body.api_key;
    const limit = { rate_limit_per_minute: 10_000_000 };
    const path = `/api/admin/organizations/${made.body.organization_id}`;
    await open.send("PATCH", path, {
      headers: { "content-type": "application/json" },
      body: JSON.stringify(limit),
    });
    const endpoint = { url: this.#receiver.url, event_types: ["order.*"] };
    await apiOf(url, { "x-api-key": this.#key }).post("/api/endpoints", endpoint);
  }

  /** False when no answer came. */
  async #step(api: Api): Promise<boolean> {
    const again = this.#unanswered.keys().next().value;
    const which = again === undefined ? this.#random.next() : 1;
    const bodies =
      which < 0.3 ? Array.from({ length: BATCH_EVENTS }, () => this.#draw()) : [this.#draw(again)];
    try {
      const answer =
        bodies.length === 1
          ? await api.post("/api/events", bodies[0])
          : await api.post("/api/events/batch", { events: bodies });
      if (![202, 409].includes(answer.status)) throw new Error(`an event was answered ${answer.status}`);
      const told = [answer.body, ...(answer.body.results ?? [])];
      const ids: string[] = told.flatMap(({ id, event_id }) => id ?? event_id ?? []);
      for (const id of ids) this.answered.add(id);
      for (const { dedup_id } of bodies) this.#unanswered.delete(dedup_id);
      const [one] = ids;
      if (one !== undefined && which < 0.35) await api.post(`/api/ack/${one}`);
      return true;
    } catch (error) {
      if (error instanceof Error && error.message.startsWith("an event was answered")) throw error;
      return false;
    }
  }

  #draw(again?: string): { dedup_id: string } {
    const dedup_id = again ?? `d${this.#drawn++}`;
    const fill = "x".repeat(this.#random.int(0, PAYLOAD_BYTES));
    const type = this.#random.pick(["order.created", "user.made"]);
    const body = this.#unanswered.get(dedup_id) ?? { type, dedup_id, payload: { fill } };
    // At the end of the line, so that clients do not all post the same one again.
    this.#unanswered.delete(dedup_id);
    this.#unanswered.set(dedup_id, body);
    return { ...body, dedup_id };
  }
}

function filesOf(root: string): Map<string, Buffer> {
  const files = [...new Bun.Glob("**/*").scanSync({ cwd: root, dot: true })].map((name) =>
    path.join(root, name),
  );
  return new Map(files.filter(existsSync).map((file) => [file, readFileSync(file)]));
}

/** What a call tells a client to be stored: events, and of them those that are acknowledged. */
export function promisesOf(call: Call): {
  readonly events: readonly string[];
  readonly acked: string | null;
} {
  if (call.kind !== "answer" || !/^HTTP\/1\.1 (202|409|200) /.test(call.text))
    return { events: [], acked: null };
  const ids = [...call.text.matchAll(/"(?:id|event_id)":"([0-9a-f-]{36})"/g)].map(([, id = ""]) => id);
  const isAck = call.text.includes('"acknowledged_at"');
  const isIngest = !call.text.startsWith("HTTP/1.1 200");
  return { events: isIngest ? ids : [], acked: isAck ? (ids[0] ?? null) : null };
}
