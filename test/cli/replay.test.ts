// `replay` as a person or a script calls it: with a real server and a real receiver; and, for what takes a server too
// long or is over too soon there, with one whose answers are written here.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { onTerminal } from "../help/command.ts";
import { eventually } from "../help/eventually.ts";
import { answer, type Receiver, refusingUrl, startReceiver } from "../help/receiver.ts";
import { type Organization, runCommand, TestServer } from "../help/server.ts";
import { tempDir } from "../help/temp.ts";

const UNKNOWN_ID = "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e53";
const KEY = "zap_live_not_the_key_of_anybody";

const elsewhere = tempDir();
/** In a directory without a server; everything else is in `args` and `env`. */
const replay = (args: string[], env: Record<string, string> = {}) =>
  runCommand(["replay", ...args], elsewhere, env);

describe("with a server", () => {
  let server: TestServer;
  let receiver: Receiver;
  let acme: Organization;
  let endpoint: string;
  const sent: string[] = [];
  /** What finds the server and the key by the environment. */
  let env: Record<string, string>;

  beforeAll(async () => {
    // With both variables: a server that takes them for misspelt settings would not start.
    const variables = { ZAPIER_TRIGGERS_URL: "http://127.0.0.1:1", ZAPIER_TRIGGERS_KEY: KEY };
    server = await TestServer.start({
      env: { WEBHOOK_ALLOW_PRIVATE: "true", RETRY_SCHEDULE: "1ms", ...variables },
    });
    acme = await server.organization();
    env = { ZAPIER_TRIGGERS_URL: server.url, ZAPIER_TRIGGERS_KEY: acme.key };
    receiver = startReceiver().on("*", answer(500));
    endpoint = (await acme.api.post("/api/endpoints", { url: `${receiver.url}/first` })).body.id;
    for (const type of ["order.created", "invoice.paid"])
      sent.push((await acme.api.post("/api/events", { type, payload: { type } })).body.id);
    await statuses("dead_letter", "dead_letter");
    receiver.on("*", answer(200));
  });
  afterAll(async () => {
    receiver?.stop();
    await server?.stop();
  });

  /** Until the deliveries to the endpoint, the newest first, have these statuses. */
  async function statuses(...wanted: string[]): Promise<void> {
    const told = (body: { deliveries: { status: string }[] }) => body.deliveries.map((one) => one.status);
    await eventually(
      () => acme.api.get(`/api/deliveries?endpoint_id=${endpoint}`),
      ({ body }) => Bun.deepEquals(told(body), wanted),
    );
  }

  test("by --type it sends again only what was asked for, and prints the replay as one line of JSON", async () => {
    const { code, stdout, stderr } = await replay([endpoint, "--since", "1h", "--type", "order.*,x.*"], env);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout.trimEnd()).not.toContain("\n");
    const told = JSON.parse(stdout);
    expect(told).toMatchObject({ endpoint_id: endpoint, status: "completed", queued: 1, progress: 1 });
    expect(told).toMatchObject({ event_types: ["order.*", "x.*"], statuses: ["dead_letter"] });
    expect((await acme.api.get(`/api/replays/${told.id}`)).body).toEqual(told);
    await statuses("dead_letter", "delivered");
    expect(receiver.received.at(-1)?.header("webhook-id")).toBe(sent[0] as string);
  });

  test("by --status, a flag for the server's address, and times", async () => {
    const before = receiver.received.length;
    const { created_at } = (await acme.api.get(`/api/events/${sent[1]}`)).body;
    const args = [endpoint, "--status", "delivered", "--status", "dead_letter", "--until", "0s"];
    const { code, stdout } = await replay([...args, "--url", `${server.url}/`, "--since", created_at], {
      ZAPIER_TRIGGERS_KEY: acme.key,
      ZAPIER_TRIGGERS_URL: refusingUrl(),
    });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      since: created_at,
      statuses: ["delivered", "dead_letter"],
      status: "completed",
    });
    await receiver.waitFor(before + 1);
    expect(receiver.received[before]?.header("webhook-id")).toBe(sent[1] as string);
    await statuses("delivered", "delivered");
  });

  test("by --missing-only an endpoint gets what is older than itself, from the server on --data-dir", async () => {
    const { id } = (await acme.api.post("/api/endpoints", { url: `${receiver.url}/late` })).body;
    const args = [id, "--since", "2h", "--missing-only", "--data-dir", server.dataDir, "--key", acme.key];
    // The flag wins over the variable.
    const { code, stdout } = await replay(args, { ZAPIER_TRIGGERS_URL: refusingUrl() });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ missing_only: true, queued: 2 });
    const late = () => receiver.received.filter((one) => one.path === "/late");
    await eventually(
      () => acme.api.get(`/api/deliveries?endpoint_id=${id}&status=delivered`),
      ({ body }) => body.deliveries.length === 2,
    );
    expect(
      late()
        .map((one) => one.header("webhook-id"))
        .sort(),
    ).toEqual([...sent].sort());
  });

  test("what the server refuses is a failure in its own words, without the key", async () => {
    const consumer = (await acme.api.post("/api/keys", { scopes: ["consume"] })).body.api_key;
    const refusals: [args: string[], key: string, said: string][] = [
      [[UNKNOWN_ID, "--since", "1h"], acme.key, "404: There is no such endpoint"],
      [[endpoint, "--since", "1h", "--type", "a b"], acme.key, "422: /event_types/0: It must be"],
      [[endpoint, "--since", "1h", "--until", "2h"], acme.key, "422: /until: It must not lie before since."],
      [[endpoint, "--since", "1h"], consumer, "403: "],
      [[endpoint, "--since", "1h"], KEY, "401: "],
    ];
    for (const [args, key, said] of refusals) {
      const { code, stdout, stderr } = await replay(args, { ...env, ZAPIER_TRIGGERS_KEY: key });
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
      expect(stderr).toContain(`the server at ${server.url} answered ${said}`);
      expect(stderr.trimEnd()).not.toContain("\n");
      expect(stderr).not.toContain(key);
    }
  });
});

describe("without a server", () => {
  const args = [UNKNOWN_ID, "--since", "1h"];

  test.each([
    ["nobody listens at the address", () => ({ ZAPIER_TRIGGERS_URL: refusingUrl() }), "cannot be reached"],
    ["none runs on the data directory", () => ({}), "no server runs on the data directory"],
  ])("it is a failure when %s", async (_name, env, said) => {
    const { code, stdout, stderr } = await replay(args, { ...env(), ZAPIER_TRIGGERS_KEY: KEY });
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toContain(said);
    expect(stderr).not.toContain(KEY);
  });

  const withKey = { ZAPIER_TRIGGERS_KEY: KEY };
  const mistakes: [args: string[], env: Record<string, string>, said: RegExp][] = [
    [args, {}, /scope manage is missing: set ZAPIER_TRIGGERS_KEY/],
    [args, { ZAPIER_TRIGGERS_KEY: "secret\nword" }, /API key has white space/],
    [args, { ...withKey, ZAPIER_TRIGGERS_URL: "localhost:3000" }, /ZAPIER_TRIGGERS_URL is not the address/],
    [[...args, "--url", "http://me:secret@127.0.0.1/"], withKey, /--url is not the address/],
    [[...args, "--durability", "off"], withKey, /DURABILITY/],
    [["--since", "1h"], withKey, /missing required argument 'ENDPOINT_ID'/],
    [["everything", "--since", "1h"], withKey, /must be the id of an endpoint/],
    [[UNKNOWN_ID], withKey, /--since <TIME>' not specified/],
    [[UNKNOWN_ID, "--since", "3d"], withKey, /or a duration back from now like 30m or 72h/],
    [[UNKNOWN_ID, "--since", "2026-02-30T00:00:00Z"], withKey, /must be a time like/],
    [[UNKNOWN_ID, "--since", "999999999h"], withKey, /must be a time like/],
    [[...args, "--until", "yesterday"], withKey, /--until/],
    [[...args, "--status", "dead"], withKey, /There are pending, failed, delivered, dead_letter/],
    [[...args, "--status", "failed", "--missing-only"], withKey, /cannot be used with/],
    [[...args, "extra"], withKey, /too many arguments/],
  ];
  test.each(mistakes)("it is a mistake in the command line: %j %j", async (args, env, said) => {
    const { code, stdout, stderr } = await replay(args, env);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(said);
    expect(stderr).not.toMatch(new RegExp(`secret|${KEY}|    at `));
  });

  test("its help tells how to write a time", async () => {
    const { code, stdout } = await replay(["--help"]);
    expect(code).toBe(0);
    expect(stdout).toContain("Usage: zapier-triggers replay [options] <ENDPOINT_ID>");
    expect(stdout).toContain("72h");
  });
});

describe("while the replay runs", () => {
  const stubs: Bun.Server<undefined>[] = [];
  afterEach(async () => {
    for (const one of stubs.splice(0)) await one.stop(true);
  });

  /** Begins a replay, and then answers the questions about it one after the other; the last answer stays. */
  function stub(begun: Response, ...answers: (() => Response)[]) {
    const asked = { count: 0, keys: new Set<string | null>() };
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch(request) {
        asked.keys.add(request.headers.get("x-api-key"));
        if (request.method === "POST") return begun;
        const next = answers[Math.min(asked.count++, answers.length - 1)];
        return next?.() ?? new Response("?", { status: 404 });
      },
    });
    stubs.push(server);
    return { url: server.url.origin, asked };
  }
  const told = (progress: number) => ({
    id: UNKNOWN_ID,
    status: progress < 1 ? "running" : "completed",
    progress,
    queued: progress * 100,
  });
  const running = (progress = 0.25) => Response.json(told(progress));
  const done = () => running(1);
  const call = (url: string, ...more: string[]) =>
    replay([UNKNOWN_ID, "--since", "1h", ...more], {
      ZAPIER_TRIGGERS_URL: url,
      ZAPIER_TRIGGERS_KEY: KEY,
    });

  test("it asks until all is done; into a pipe goes the end alone", async () => {
    const { url, asked } = stub(running(), () => running(0.5), done);
    const { code, stdout, stderr } = await call(url);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(JSON.parse(stdout)).toEqual(told(1));
    expect(asked).toEqual({ count: 2, keys: new Set([KEY]) });
  });

  test("with --no-wait it prints the replay as it has begun", async () => {
    const { url, asked } = stub(running(), done);
    const { code, stdout } = await call(url, "--no-wait");
    expect({ code, told: JSON.parse(stdout) }).toEqual({ code: 0, told: told(0.25) });
    expect(asked.count).toBe(0);
  });

  test("a server that has no time, or is started again, is asked again", async () => {
    const busy = () => Response.json({ detail: "Too much waits." }, { status: 503 });
    const { url } = stub(running(), busy, () => new Response("bad gateway", { status: 502 }), done);
    expect((await call(url)).code).toBe(0);
  });

  test("a refusal ends the waiting, and says how to look at the replay", async () => {
    const echo = () => Response.json({ detail: `The key ${KEY}\u001b[2J is gone.` }, { status: 401 });
    const { url } = stub(running(), echo);
    const { code, stdout, stderr } = await call(url);
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toContain("answered 401: The key [key] [2J is gone. How far it is, GET /api/replays/");
  });

  test.each([
    ["redirects", Response.redirect("https://example.com/x", 301), "points to https://example.com/x"],
    ["is another service", new Response("<html>"), "Is it the right address?"],
    ["is another service that speaks JSON", Response.json({ ok: true }), "something else"],
  ])("a server that %s is a failure", async (_name, begun, said) => {
    const { code, stderr } = await call(stub(begun, done).url);
    expect(code).toBe(1);
    expect(stderr).toContain(said);
  });

  const replayOnTerminal = (url: string) =>
    onTerminal(["replay", UNKNOWN_ID, "--since", "1h"], {
      cwd: elsewhere,
      env: { ZAPIER_TRIGGERS_URL: url, ZAPIER_TRIGGERS_KEY: KEY },
    });

  test("on a terminal one line tells how far it is, and is gone at the end", async () => {
    const terminal = replayOnTerminal(stub(running(), () => running(0.5), done).url);
    expect(await terminal.child.exited).toBe(0);
    await terminal.shown.shows("}");
    terminal.child.terminal?.close();
    expect(terminal.shown.text).toStartWith(
      "\r25 %, 25 in the queue\u001b[K\r50 %, 50 in the queue\u001b[K\r\u001b[K{",
    );
  });

  test("Ctrl-C ends the waiting, and says that the replay goes on", async () => {
    const terminal = replayOnTerminal(stub(running(), () => running(0.5)).url);
    await terminal.shown.shows("50 %");
    terminal.type("\u0003");
    expect(await terminal.child.exited).toBe(130);
    await terminal.shown.shows(`The replay goes on in the server: GET /api/replays/${UNKNOWN_ID}.`);
    terminal.child.terminal?.close();
  });
});
