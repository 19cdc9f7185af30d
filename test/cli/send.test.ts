// `send` as a person or a script calls it: with the real server; and for faults with one whose answers are written
// here.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { Triggers } from "../../src/sdk/client.ts";
import { onTerminal, startCommand } from "../help/command.ts";
import { eventually } from "../help/eventually.ts";
import { refusingUrl, startReceiver } from "../help/receiver.ts";
import { type Organization, runCommand, TestServer } from "../help/server.ts";
import { type Answering, acceptAll, inTurn, problem, Stub } from "../help/stub.ts";
import { tempDir } from "../help/temp.ts";

const KEY = "zap_live_not_the_key_of_anybody";
/** The payloads of all that is in the inbox, the oldest first. */
const stored = (url: string, key: string) =>
  Array.fromAsync(
    new Triggers({ url, key }).inbox({ order: "asc", pageSize: 1_000 }),
    ({ payload }) => payload,
  );
const elsewhere = tempDir();
/** In a directory without a server; everything else is in `args` and `env`. */
const send = (args: string[], env: Record<string, string> = {}) =>
  runCommand(["send", ...args], elsewhere, env);

describe("with a server", () => {
  let server: TestServer;
  let acme: Organization;
  let env: Record<string, string>;
  beforeAll(async () => {
    server = await TestServer.start();
  });
  afterAll(() => server?.stop());
  /** Each test has an organization of its own. */
  const begin = async () => {
    acme = await server.organization();
    env = { ZAPIER_TRIGGERS_URL: server.url, ZAPIER_TRIGGERS_KEY: acme.key };
  };
  const inbox = async () => (await acme.api.get("/api/inbox?order=asc&limit=1000")).body.events;
  const lines = async (args: string[], input: string | Uint8Array) => {
    const { code, stdout, stderr } = await startCommand(
      ["send", ...args],
      { cwd: elsewhere, env },
      input,
    ).ended();
    return { code, summary: JSON.parse(stdout), stderr };
  };

  test("an event is sent as it is written, and its id is printed", async () => {
    await begin();
    const { code, stdout, stderr } = await send(["order.created", '{"b":1.0, "a":9007199254740993}'], env);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const told = JSON.parse(stdout);
    expect(stdout.trimEnd()).not.toContain("\n");
    const answer = await acme.api.get(`/api/events/${told.id}`);
    expect(told).toEqual({ id: answer.body.id, status: "accepted", created_at: answer.body.created_at });
    expect(answer.body.type).toBe("order.created");
    expect(answer.text).toContain('"payload":{"b":1.0, "a":9007199254740993}');
  });

  test("without a payload it is {}; anything that is JSON is one", async () => {
    await begin();
    for (const json of [[], ["null"], ['"a text"'], ["--", "-1"], ["[1]"]])
      expect((await send(["t", ...json], env)).code).toBe(0);
    expect((await inbox()).map(({ payload }: { payload: unknown }) => payload)).toEqual([
      {},
      null,
      "a text",
      -1,
      [1],
    ]);
  });

  test("with a dedup id a second time is a success, and the same id", async () => {
    await begin();
    const args = ["t", "1", "--dedup-id", "o-1"];
    const first = JSON.parse((await send(args, env)).stdout);
    const { code, stdout } = await send(args, env);
    expect({ code, told: JSON.parse(stdout) }).toEqual({
      code: 0,
      told: { id: first.id, status: "duplicate" },
    });
  });

  test("with a time to deliver at it is hidden until then", async () => {
    await begin();
    expect((await send(["t", "1", "--deliver-at", "1h"], env)).code).toBe(0);
    expect((await lines(["t", "-", "--deliver-at", "2090-01-01T00:00:00Z"], "1\n")).summary).toMatchObject({
      rejected: 1,
    });
    expect(await inbox()).toEqual([]);
  });

  test("the server on --data-dir is found, and a flag wins over the environment", async () => {
    await begin();
    const args = ["t", "1", "--data-dir", server.dataDir, "--key", acme.key];
    expect((await send(args, { ZAPIER_TRIGGERS_KEY: KEY, ZAPIER_TRIGGERS_URL: refusingUrl() })).code).toBe(0);
    expect(await inbox()).toHaveLength(1);
  });

  test("lines are sent in their order, as they are written, and counted", async () => {
    await begin();
    const input = Array.from({ length: 2_300 }, (_, n) => `{"n":${n}.0}`).join("\n");
    const { code, summary, stderr } = await lines(["import.line", "-"], input);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(summary).toEqual({
      lines: 2_300,
      accepted: 2_300,
      duplicates: 0,
      rejected: 0,
      unanswered: 0,
      complete: true,
    });
    const text = (await acme.api.get("/api/inbox?order=asc&limit=1000")).text;
    const written = [...text.matchAll(/"payload":(\{"n":\d+\.0\})/g)].map(([, payload]) => payload);
    expect(written).toEqual(input.split("\n").slice(0, 1_000));
  });

  test("a bad line is told with its number, and the rest goes on", async () => {
    await begin();
    const huge = `"${"x".repeat(270_000)}"`;
    const monster = "y".repeat(3_000_000);
    const text = ["\ufeff1", "", "{", "  2  \r", "[3", huge, monster, "4"].join("\n");
    const input = Buffer.concat([
      Buffer.from(`${text}\n`),
      Buffer.from([0x22, 0xff, 0x22, 0x0a]),
      Buffer.from("5"),
    ]);
    const { code, summary, stderr } = await lines(["t", "-"], input);
    expect(code).toBe(1);
    expect(summary).toMatchObject({ lines: 9, accepted: 4, rejected: 5, unanswered: 0, complete: true });
    const said = stderr.trimEnd().split("\n").sort();
    expect(said).toEqual([
      expect.stringContaining("line 3: it is not JSON"),
      expect.stringContaining("line 5: it is not JSON"),
      expect.stringContaining("line 6: payload_too_large: "),
      expect.stringContaining("line 7: it has more than 524288 bytes"),
      expect.stringContaining("line 9: it is not UTF-8"),
    ]);
    expect((await inbox()).map(({ payload }: { payload: unknown }) => payload)).toEqual([1, 2, 4, 5]);
  });

  test("an import that is run again sends what is missing: duplicates count as done", async () => {
    await begin();
    const all = Array.from({ length: 1_500 }, (_, n) => String(n));
    const args = ["t", "-", "--dedup-prefix", "file-1"];
    expect((await lines(args, all.slice(0, 1_100).join("\n"))).summary).toMatchObject({ accepted: 1_100 });
    const { code, summary } = await lines(args, all.join("\n"));
    expect(code).toBe(0);
    expect(summary).toMatchObject({ lines: 1_500, accepted: 400, duplicates: 1_100, complete: true });
    const [first] = await inbox();
    expect(first.dedup_id).toBe("file-1-1");
  });

  test("an import that was interrupted and is run again leaves each line stored once, in its order", async () => {
    await begin();
    const all = Array.from({ length: 2_500 }, (_, n) => `${n}\n`);
    const args = ["send", "t", "-", "--dedup-prefix", "file-1"];
    const first = startCommand(args, { cwd: elsewhere, env });
    first.child.stdin.write(all.slice(0, 1_700).join(""));
    first.child.stdin.flush();
    await eventually(inbox, (events) => events.length === 1_000);
    first.child.kill("SIGINT");
    const stopped = await first.ended();
    expect(stopped).toMatchObject({ code: 130, stderr: expect.stringContaining("stopped.") });
    expect(JSON.parse(stopped.stdout)).toMatchObject({ rejected: 0, complete: false });

    const { code, summary } = await lines(args.slice(1), all.join(""));
    expect(code).toBe(0);
    expect(summary).toMatchObject({ lines: 2_500, rejected: 0, unanswered: 0, complete: true });
    expect(summary.duplicates).toBeWithin(1_000, 1_701);
    expect(summary.accepted).toBe(2_500 - summary.duplicates);
    expect(await stored(server.url, acme.key)).toEqual(all.map(Number));
  });

  test("a server that is killed in the middle of an import and started again gets the rest, each line once", async () => {
    let own = await TestServer.start();
    try {
      const { key, api } = await own.organization();
      const options = {
        cwd: elsewhere,
        env: { ZAPIER_TRIGGERS_URL: own.url, ZAPIER_TRIGGERS_KEY: key },
      };
      const all = Array.from({ length: 3_000 }, (_, n) => `${n}\n`);
      const command = startCommand(["send", "t", "-", "--dedup-prefix", "file-1"], options);
      command.child.stdin.write(all.slice(0, 1_500).join(""));
      command.child.stdin.flush();
      await eventually(
        () => api.get("/api/inbox?limit=1"),
        ({ body }) => body.events.length > 0,
      );
      await own.kill("SIGKILL");
      command.child.stdin.write(all.slice(1_500).join(""));
      command.child.stdin.end();
      own = await TestServer.start({ dataDir: own.dataDir, env: { PORT: new URL(own.url).port } });
      const { code, stdout } = await command.ended();
      expect(code).toBe(0);
      const { lines, accepted, duplicates } = JSON.parse(stdout);
      expect([lines, accepted + duplicates]).toEqual([3_000, 3_000]);
      expect(await stored(own.url, key)).toEqual(all.map(Number));
    } finally {
      await own.stop();
    }
  });

  test("nothing on standard input is nothing to do", async () => {
    await begin();
    expect(await lines(["t", "-"], "\n\n")).toMatchObject({ code: 0, summary: { lines: 0, complete: true } });
  });

  test("what the server refuses is a failure in its own words, without the key", async () => {
    await begin();
    const consumer = (await acme.api.post("/api/keys", { scopes: ["consume"] })).body.api_key;
    const refusals: [key: string, said: string][] = [
      [consumer, "403: "],
      [KEY, "401: "],
    ];
    for (const [key, said] of refusals) {
      env = { ...env, ZAPIER_TRIGGERS_KEY: key };
      const one = await send(["t", "1"], env);
      expect({ code: one.code, stdout: one.stdout }).toEqual({ code: 1, stdout: "" });
      const many = await lines(["t", "-"], "1\n2\n");
      expect(many).toMatchObject({ code: 1, summary: { lines: 2, accepted: 0, complete: false } });
      for (const { stderr } of [one, many]) {
        expect(stderr).toContain(`the server at ${server.url} answered ${said}`);
        expect(stderr).not.toContain(key);
        expect(stderr).not.toContain("not known");
      }
    }
  });
});

describe("with a server that", () => {
  const open: { stop(): unknown }[] = [];
  afterEach(async () => {
    for (const one of open.splice(0)) await one.stop();
  });
  const stub = (answering: Answering) => {
    const server = new Stub({ "POST /api/events/batch": answering, "POST /api/events": answering });
    open.push(server);
    return { server, options: optionsOf(server.url) };
  };
  const optionsOf = (url: string) => ({
    cwd: elsewhere,
    env: { ZAPIER_TRIGGERS_URL: url, ZAPIER_TRIGGERS_KEY: KEY },
  });
  const many = (count: number) => Array.from({ length: count }, (_, n) => `${n}\n`).join("");

  test("is busy, a line is sent when it says, and once", async () => {
    const busy = (status: number, code: string) => () => problem(status, code, {}, { "retry-after": "1" });
    const { server, options } = stub(inTurn(busy(429, "rate_limited"), busy(503, "overloaded"), acceptAll()));
    const startedMs = performance.now();
    const { code } = await startCommand(["send", "t", "-"], options, many(3)).ended();
    expect(code).toBe(0);
    expect(performance.now() - startedMs).toBeGreaterThan(1_980);
    expect(server.asked.map(({ text }) => text)).toEqual(Array(3).fill(server.asked[0]?.text));
  });

  test("breaks the connection, an import with a prefix goes on", async () => {
    const bad: Answering = () => new Response("bad gateway", { status: 502 });
    const { server, options } = stub(inTurn(acceptAll(), bad, acceptAll()));
    const args = ["send", "t", "-", "--dedup-prefix", "p"];
    const { code, stdout } = await startCommand(args, options, many(1_500)).ended();
    expect({ code, summary: JSON.parse(stdout) }).toMatchObject({ code: 0, summary: { accepted: 1_500 } });
    expect(server.asked.map(({ body }) => [body.events.at(0).dedup_id, body.events.at(-1).dedup_id])).toEqual(
      [
        ["p-1", "p-1000"],
        ["p-1001", "p-1500"],
        ["p-1001", "p-1500"],
      ],
    );
  });

  test("breaks the connection, an import without a prefix ends and says what is not known", async () => {
    const receiver = startReceiver().on("*", { kind: "reset" });
    open.push(receiver);
    const { code, stdout, stderr } = await startCommand(
      ["send", "t", "-"],
      optionsOf(receiver.url),
      many(3),
    ).ended();
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toEqual({
      lines: 3,
      accepted: 0,
      duplicates: 0,
      rejected: 0,
      unanswered: 3,
      complete: false,
    });
    expect(stderr).toContain(`the server at ${receiver.url} cannot be reached`);
    expect(stderr).toContain("it is not known whether the last 3 lines were stored.");
    expect(receiver.received).toHaveLength(1);
  });

  test("takes lines as they come, not when there are a thousand", async () => {
    const { server, options } = stub(acceptAll());
    const command = startCommand(["send", "t", "-"], options);
    for (const n of [1, 2]) {
      command.child.stdin.write(`${n}\n`);
      command.child.stdin.flush();
      await server.waitFor("/api/events/batch", n);
    }
    command.child.stdin.end();
    expect((await command.ended()).code).toBe(0);
    expect(server.asked.map(({ body }) => body.events.length)).toEqual([1, 1]);
  });

  test("does not answer, Ctrl-C ends the command and the summary tells how far it was", async () => {
    const { server, options } = stub(inTurn(acceptAll(), () => new Promise(() => {})));
    const command = startCommand(["send", "t", "-", "--dedup-prefix", "p"], options);
    command.child.stdin.write(many(1_200));
    command.child.stdin.flush();
    await server.waitFor("/api/events/batch", 2);
    command.child.kill("SIGINT");
    const { code, stdout, stderr } = await command.ended();
    expect(code).toBe(130);
    expect(JSON.parse(stdout)).toMatchObject({ accepted: 1_000, unanswered: 200, complete: false });
    expect(stderr).toContain("send the same input again, with the same --dedup-prefix");
  });

  test("is not there, is a failure", async () => {
    for (const args of [
      ["send", "t", "1"],
      ["send", "t", "-"],
    ]) {
      const url = new URL(refusingUrl()).origin;
      const { code, stderr } = await startCommand(args, optionsOf(url), "1\n").ended();
      expect(code).toBe(1);
      expect(stderr).toBe(`zapier-triggers: the server at ${url} cannot be reached: nobody listens there.\n`);
    }
  });

  test("is not there, an import with a prefix says that it tries again, and may be ended", async () => {
    const url = new URL(refusingUrl()).origin;
    const args = ["send", "t", "-", "--dedup-prefix", "p"];
    const command = startCommand(args, optionsOf(url), "1\n");
    await command.stderr.shows(
      `the server at ${url} cannot be reached: nobody listens there. Trying again.\n`,
    );
    command.child.kill("SIGINT");
    const { code, stdout, stderr } = await command.ended();
    expect(code).toBe(130);
    expect(JSON.parse(stdout)).toMatchObject({ lines: 1, unanswered: 1, complete: false });
    expect(stderr).toContain(
      "stopped.\nzapier-triggers: it is not known whether the last line was stored: send the same input again",
    );
  });

  test("tells on a terminal how far it is, in one line that is gone at the end", async () => {
    const { options } = stub(acceptAll());
    const terminal = onTerminal(["send", "t", "-"], options);
    terminal.type('{"a":1}\n');
    await terminal.shown.shows("\rlines 1, accepted 1, duplicates 0, rejected 0, ");
    terminal.type("\u0004");
    expect(await terminal.child.exited).toBe(0);
    expect(await terminal.shown.shows("}")).toContain("\r\u001b[K{\r\n");
    terminal.child.terminal?.close();
  });
});

describe("it is a mistake in the command line", () => {
  const withKey = { ZAPIER_TRIGGERS_KEY: KEY };
  const mistakes: [args: string[], env: Record<string, string>, said: RegExp][] = [
    [[], withKey, /missing required argument 'TYPE'/],
    [["a b"], withKey, /1 to 255 characters/],
    [["t", "{"], withKey, /It must be JSON/],
    [["t", "hello"], withKey, /It must be JSON/],
    [["t", "1", "2"], withKey, /too many arguments/],
    [["t", "-", "--dedup-id", "x"], withKey, /--dedup-prefix/],
    [["t", "1", "--dedup-prefix", "x"], withKey, /--dedup-id/],
    [["t", "-", "--dedup-prefix", ""], withKey, /1 to 238 characters/],
    [["t", "1", "--dedup-id", ""], withKey, /1 to 255 characters/],
    [["t", "1", "--deliver-at", "tomorrow"], withKey, /must be a time like/],
    [["t", "1"], {}, /scope publish is missing: set ZAPIER_TRIGGERS_KEY/],
    [["t", "1"], { ...withKey, ZAPIER_TRIGGERS_URL: "localhost" }, /ZAPIER_TRIGGERS_URL is not the address/],
  ];
  test.each(mistakes)("%j %j", async (args, env, said) => {
    const { code, stdout, stderr } = await send(args, env);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(said);
    expect(stderr).not.toMatch(new RegExp(`${KEY}|    at `));
  });
});
