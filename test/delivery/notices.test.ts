// The dispatcher hears of commits later than they are made, and reads the disk as it is when it hears: two changes of an
// endpoint may be one to it. Real dispatcher, real engine; only the receivers are the test's own.

import { expect, test } from "bun:test";
import path from "node:path";
import { createLog } from "../../src/base/log.ts";
import { createSecretBox } from "../../src/base/secret_box.ts";
import { Dispatcher } from "../../src/delivery/dispatcher.ts";
import { Post } from "../../src/delivery/post.ts";
import type { Attempt, Sender } from "../../src/delivery/send.ts";
import type { Committed } from "../../src/store/sqlite/engine.ts";
import type { Op } from "../../src/store/sqlite/op.ts";
import { openReader } from "../../src/store/sqlite/pragma.ts";
import { DueReads } from "../../src/store/sqlite/read_due.ts";
import type { EndpointSettings } from "../../src/store/store.ts";
import { withTempDir } from "../help/temp.ts";
import { createEndpoint, createOrganization, open } from "../store/writing.ts";

const HOUR_MS = 3_600_000;

/** A dispatcher over a file of its own, of one endpoint; `status`: what its receiver answers. */
class Delivering {
  status = 200;
  readonly sent: Attempt[] = [];
  readonly org: number;
  readonly endpoint;
  readonly #opened;
  readonly #db;
  readonly #reads: DueReads;
  readonly #dispatcher: Dispatcher;
  #settled = Promise.withResolvers<void>();

  constructor(dir: string, settings: Partial<EndpointSettings>) {
    const file = path.join(dir, "triggers.db");
    this.#opened = open(file, 1_000);
    this.org = createOrganization(this.#opened.engine);
    this.endpoint = createEndpoint(this.#opened.engine, this.org, settings);
    this.#db = openReader(file);
    const post = new Post({
      ...{
        sender: this.#sender(),
        retryScheduleMs: [HOUR_MS, HOUR_MS],
        timeoutMs: 1_000,
        onAttempt: () => {},
      },
    });
    const log = createLog({ level: "silent", format: "json" });
    this.#reads = new DueReads(this.#db, createSecretBox([]));
    this.#dispatcher = new Dispatcher(this.#reads, post, (ops) => this.#settle(ops), log);
    this.#dispatcher.start();
  }

  /** Events that are heard of. Returns their ids. */
  accept(count: number): string[] {
    const ids = Array.from({ length: count }, () => this.#opened.ids.next(Date.now()));
    const { org } = this;
    const rest = { op: "ingest", org, type: "t", dedupId: null, payload: "1", appearAtMs: null } as const;
    this.hear(this.commit(...ids.map((id): Op => ({ ...rest, ...id }))));
    return ids.map(({ id }) => id);
  }

  /** Returns what delivery is to hear of it. */
  commit(...ops: readonly Op[]): Committed["notice"] {
    return this.#opened.engine.commitGroup(ops).notice;
  }

  hear(notice: Committed["notice"]): void {
    if (notice) this.#dispatcher.notice(notice);
  }

  /** On its way, behind the result that is being recorded and before the answer to it. */
  hearLater(notice: Committed["notice"]): void {
    this.#unheard.push(notice);
  }

  /** As they are on disk. */
  get failures(): number | undefined {
    return this.#reads.target(this.endpoint.endpoint)?.health.failures;
  }

  /** When so many results have been recorded. */
  async recorded(count: number): Promise<void> {
    while (this.#recorded < count) await this.#settled.promise;
  }

  async close(): Promise<void> {
    await this.#dispatcher.stop();
    this.#db.close();
    this.#opened.engine.close();
  }

  #recorded = 0;
  readonly #unheard: Committed["notice"][] = [];

  #settle(ops: readonly Op[]): void {
    const { results, notice } = this.#opened.engine.commitGroup(ops);
    for (const one of [...this.#unheard.splice(0), notice]) this.hear(one);
    this.#dispatcher.replied(results, this.#opened.engine.sealedDue);
    this.#recorded += ops.length;
    this.#settled.resolve();
    this.#settled = Promise.withResolvers();
  }

  #sender(): Sender {
    const answer = { durationMs: 1, error: null, responseExcerpt: null, retryAfter: null };
    return {
      send: async (attempt) => {
        this.sent.push(attempt);
        return { ...answer, startedAtMs: Date.now(), status: this.status };
      },
      close: () => {},
    };
  }
}

test("enabling sends what waited for its retry, also when delivery hears of it only after all is done", () =>
  withTempDir(async (dir) => {
    const delivering = new Delivering(dir, {});
    delivering.status = 500;
    const [id] = delivering.accept(1);
    await delivering.recorded(1);
    delivering.status = 200;
    const { org, endpoint } = delivering;
    const closed = delivering.commit({ op: "enableEndpoint", org, id: endpoint.id });
    const opened = delivering.commit({
      ...{ op: "ageStep", endpoint: endpoint.endpoint, after: null, looksMax: 10 },
    });
    delivering.hear(closed);
    delivering.hear(opened);
    await delivering.recorded(2);
    expect(delivering.sent.map(({ event }) => event.id)).toEqual([id ?? "", id ?? ""]);
    await delivering.close();
  }));

test("a failure from before the URL was changed is forgotten with the next success", () =>
  withTempDir(async (dir) => {
    const delivering = new Delivering(dir, {});
    delivering.status = 503;
    delivering.accept(1);
    const { org, endpoint } = delivering;
    const change = { url: "https://b.example/" };
    const changed = delivering.commit({ op: "updateEndpoint", org, id: endpoint.id, change });
    delivering.hearLater(changed);
    await delivering.recorded(1);
    expect(delivering.failures).toBe(1);
    delivering.status = 200;
    delivering.accept(1);
    await delivering.recorded(2);
    expect(delivering.failures).toBe(0);
    await delivering.close();
  }));

test("what was acknowledged while it waited takes no turn of a rate limit", () =>
  withTempDir(async (dir) => {
    const delivering = new Delivering(dir, { rateLimitPerSecond: 1 });
    const ids = delivering.accept(100);
    await delivering.recorded(1);
    delivering.commit({ op: "ack", org: delivering.org, ids: ids.slice(0, -1) });
    await delivering.recorded(2); // a second later, not a hundred
    expect(delivering.sent.map(({ event }) => event.id)).toEqual([ids[0] ?? "", ids.at(-1) ?? ""]);
    await delivering.close();
  }));
