// `tail` as a person on a terminal and a program behind a pipe see it, with the real server; and for faults with one
// whose answers are written here.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { onTerminal, PROGRAM, readOutput, startCommand } from "../help/command.ts";
import { inTurn, type Program, type Receiver, raw, refusingUrl, startReceiver } from "../help/receiver.ts";
import { type Organization, runCommand, TestServer } from "../help/server.ts";
import { told } from "../help/stub.ts";
import { tempDir } from "../help/temp.ts";

const KEY = "zap_live_not_the_key_of_anybody";
const elsewhere = tempDir();
const optionsOf = (url: string, key = KEY) => ({
  cwd: elsewhere,
  env: { ZAPIER_TRIGGERS_URL: url, ZAPIER_TRIGGERS_KEY: key },
});
const HEAD = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nretry: 1\nid: p0\n\n";
const message = (id: string, more: object = {}) => `id: ${id}\ndata: ${JSON.stringify(told(id, more))}\n\n`;

describe("with a server", () => {
  let server: TestServer;
  let acme: Organization;
  beforeAll(async () => {
    server = await TestServer.start();
  });
  afterAll(() => server?.stop());
  const begin = async () => {
    acme = await server.organization();
    return optionsOf(server.url, acme.key);
  };
  const post = async (type: string, payload: string): Promise<string> =>
    (await acme.api.post("/api/events", `{"type":"${type}","payload":${payload}}`)).body.id;
  const inInbox = async (id: string) => {
    const { text } = await acme.api.get("/api/inbox?limit=1000");
    const parts = /"events":\[(.*)\],"next_cursor"/s.exec(text)?.[1]?.split(/(?<=\}),(?=\{"id")/) ?? [];
    return parts.find((part) => part.startsWith(`{"id":"${id}"`))?.replaceAll("\n", " ");
  };

  test("into a pipe each event is one line, as the server has it; Ctrl-C ends with 0", async () => {
    const options = await begin();
    const before = await post("order.created", '{"b":1.0,\n "a":9007199254740993}');
    const command = startCommand(["tail", "--since", "1h"], options);
    await command.stdout.lines(1);
    const after = await post("invoice.paid", '"\\u00e9"');
    const lines = await command.stdout.lines(2);
    expect(lines).toEqual([await inInbox(before), await inInbox(after)] as string[]);
    expect(lines[0]).toContain('{"b":1.0,  "a":9007199254740993}');
    command.child.kill("SIGINT");
    expect(await command.ended()).toMatchObject({ code: 0, stderr: "" });
  });

  test("by --type and --since it shows what was asked for", async () => {
    const options = await begin();
    await post("order.created", "1");
    const from = await post("order.paid", "2");
    const { created_at } = (await acme.api.get(`/api/events/${from}`)).body;
    await post("invoice.paid", "3");
    const command = startCommand(["tail", "--type", "order.*", "--since", created_at], options);
    await command.stdout.lines(1);
    await post("invoice.paid", "4");
    await post("order.shipped", "5");
    const payloads = (await command.stdout.lines(2)).map((line) => JSON.parse(line).payload);
    expect(payloads.at(-1)).toBe(5);
    // Both orders may have come in the same millisecond.
    expect(payloads.filter((payload) => payload > 1)).toEqual(
      [2, 5].slice(-payloads.filter((n) => n > 1).length),
    );
    command.child.kill("SIGTERM");
    expect((await command.ended()).code).toBe(0);
  });

  test("on a terminal it is a line for a person, no longer than the terminal is wide", async () => {
    const options = await begin();
    const long = await post("order.created", `{"a":"\u009b2J\u202e",\n"b":"${"x".repeat(300)}"}`);
    const terminal = onTerminal(["tail", "--since", "1h"], options, 100);
    await terminal.shown.shows("…");
    const [heading, line = ""] = terminal.shown.text.split("\r\n");
    const { created_at } = (await acme.api.get(`/api/events/${long}`)).body;
    expect(heading).toBe(`${created_at.slice(0, 10)} (UTC)`);
    const start = `${created_at.slice(11, 23)}  order.created             ${long}  {"a":"·2J·", `;
    expect(line).toStartWith(start.slice(0, 99));
    expect(line.length).toBeLessThanOrEqual(100);
    terminal.type("\u0003");
    expect(await terminal.child.exited).toBe(0);
    terminal.child.terminal?.close();
  });

  test("over a server that is stopped, or killed, it shows each event once and in order", async () => {
    const own = await TestServer.start();
    let running = own;
    try {
      const { key, api } = await own.organization();
      const sent: string[] = [];
      const sendSome = async () => {
        const events = Array.from({ length: 50 }, (_, n) => ({ type: "t", payload: n }));
        const { results } = (await api.post("/api/events/batch", { events })).body;
        sent.push(...results.map((one: { id: string }) => one.id));
      };
      await sendSome();
      const command = startCommand(["tail", "--since", "1h"], optionsOf(own.url, key));
      await command.stdout.lines(sent.length);
      for (const signal of ["SIGTERM", "SIGKILL"] as const) {
        await running.kill(signal);
        running = await TestServer.start({ dataDir: own.dataDir, env: { PORT: new URL(own.url).port } });
        // Whether the stream is back already or not.
        await sendSome();
        await command.stdout.lines(sent.length);
        await sendSome();
        await command.stdout.lines(sent.length);
      }
      command.child.kill("SIGINT");
      const { code, stdout } = await command.ended();
      expect(code).toBe(0);
      const shown = stdout.trimEnd().split("\n");
      expect(shown.map((line) => JSON.parse(line).id)).toEqual(sent);
    } finally {
      await running.stop();
    }
  });

  test("a reader that has seen enough ends it with 0", async () => {
    const options = await begin();
    await post("t", "1");
    const script = `"$@" | head -n 1; echo "code \${PIPESTATUS[0]}"`;
    const args = ["-c", script, "bash", ...PROGRAM, "tail", "--since", "1h"];
    const output = readOutput(
      Bun.spawn(["bash", ...args], {
        cwd: elsewhere,
        env: { PATH: process.env.PATH ?? "", ...options.env },
        stdout: "pipe",
      }).stdout,
    );
    await output.lines(1);
    await post("t", "2");
    expect((await output.lines(2))[1]).toBe("code 0");
  });

  test("a key that may not read, or is none, is a failure without the key", async () => {
    await begin();
    const publisher = (await acme.api.post("/api/keys", { scopes: ["publish"] })).body.api_key;
    for (const [key, status] of [
      [publisher, 403],
      [KEY, 401],
    ] as const) {
      const { code, stdout, stderr } = await runCommand(["tail"], elsewhere, optionsOf(server.url, key).env);
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
      expect(stderr).toContain(`the server at ${server.url} answered ${status}: `);
      expect(stderr).not.toContain(key);
    }
  });
});

describe("with a server that", () => {
  const receivers: Receiver[] = [];
  afterEach(() => {
    for (const one of receivers.splice(0)) one.stop();
  });
  const start = (program: Program, args: string[] = []) => {
    const receiver = startReceiver().on("*", program);
    receivers.push(receiver);
    return { receiver, command: startCommand(["tail", ...args], optionsOf(receiver.url)) };
  };

  test("breaks the connection, it goes on behind the last whole event", async () => {
    const { receiver, command } = start(
      inTurn(
        raw(`${HEAD}${message("e1")}${message("e2").slice(0, 40)}`),
        raw(`${HEAD}${message("e2")}${message("e3")}`, false),
      ),
    );
    const ids = (await command.stdout.lines(3)).map((line) => JSON.parse(line).id);
    expect(ids).toEqual(["e1", "e2", "e3"]);
    expect(receiver.received.map((one) => one.header("last-event-id"))).toEqual([null, "e1"]);
    command.child.kill("SIGINT");
    expect(await command.ended()).toMatchObject({ code: 0, stderr: "" });
  });

  test("is busy for a while, it says so and tries again", async () => {
    const { command } = start(
      inTurn(
        raw(`${HEAD}${message("e1")}`),
        raw("HTTP/1.1 503 Busy\r\ncontent-length: 2\r\nretry-after: 1\r\n\r\n{}"),
        raw(`${HEAD}${message("e2")}`, false),
      ),
    );
    await command.stdout.lines(2);
    expect(command.stderr.text).toMatch(/answered 503: .* Trying again\.\n$/);
    command.child.kill("SIGINT");
    expect((await command.ended()).code).toBe(0);
  });

  test("is busy for a while when what was before is asked for, it is asked again", async () => {
    const busy = "HTTP/1.1 503 Busy\r\ncontent-length: 2\r\nretry-after: 0\r\n\r\n{}";
    const page = JSON.stringify({ events: [told("e1")], next_cursor: null, has_more: false });
    const found = `HTTP/1.1 200 OK\r\ncontent-length: ${page.length}\r\n\r\n${page}`;
    let asked = 0;
    const { command } = start(
      ({ path }) => {
        if (path.startsWith("/api/inbox/stream")) return raw(`${HEAD}${message("e2")}`, false);
        return raw(++asked <= 6 ? busy : found);
      },
      ["--since", "1h"],
    );
    const ids = (await command.stdout.lines(2)).map((line) => JSON.parse(line).id);
    expect(ids).toEqual(["e1", "e2"]);
    command.child.kill("SIGINT");
    expect(await command.ended()).toMatchObject({ code: 0, stderr: "" });
  });

  test("takes the key away, it is a failure", async () => {
    const gone = `event: error\ndata: {"status":401,"code":"invalid_api_key","detail":"The key ${KEY} is gone."}\n\n`;
    const { command } = start(raw(`${HEAD}${message("e1")}${gone}`, false));
    const { code, stdout, stderr } = await command.ended();
    expect({ code, id: JSON.parse(stdout).id }).toEqual({ code: 1, id: "e1" });
    expect(stderr).toContain("answered 401: The key [key] is gone.");
  });

  test("is not there, it is a failure", async () => {
    const { code, stderr } = await startCommand(["tail"], optionsOf(refusingUrl())).ended();
    expect(code).toBe(1);
    expect(stderr).toContain("cannot be reached: nobody listens there.");
  });
});

describe("it is a mistake in the command line", () => {
  const withKey = { ZAPIER_TRIGGERS_KEY: KEY };
  const mistakes: [args: string[], env: Record<string, string>, said: RegExp][] = [
    [["--type", "a b"], withKey, /order\.\*/],
    [["--since", "yesterday"], withKey, /must be a time like/],
    [["extra"], withKey, /too many arguments/],
    [[], {}, /scope consume is missing: set ZAPIER_TRIGGERS_KEY/],
  ];
  test.each(mistakes)("%j %j", async (args, env, said) => {
    const { code, stdout, stderr } = await runCommand(["tail", ...args], elsewhere, env);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(said);
  });
});
