// The log: its shape, that secrets stay out of it by whatever way they come, and that it holds nothing up.

import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { createLog, type LogOptions } from "../../src/base/log.ts";
import { withTempDir } from "../help/temp.ts";

const KEY = `zap_live_${"Ab3".repeat(18)}z`;
const SIGNING = `whsec_${"Qx7+/".repeat(6)}==`;

function record(level: LogOptions["level"] = "debug", format: LogOptions["format"] = "json") {
  const lines: string[] = [];
  return { lines, log: createLog({ level, format }, (line) => lines.push(line)) };
}

test("a line is one JSON object with the level as a word and the time in UTC to the millisecond", () => {
  const { log, lines } = record();
  log.child({ request_id: "r1" }).warn({ event_id: "e1" }, "two\nlines");
  expect(lines).toHaveLength(1);
  expect(lines[0]).toEndWith("}\n");
  const { time, ...rest } = JSON.parse(lines[0] ?? "");
  expect(rest).toEqual({ level: "warn", request_id: "r1", event_id: "e1", msg: "two\nlines" });
  expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  expect(lines[0]?.indexOf("\n")).toBe((lines[0]?.length ?? 0) - 1);
});

test.each([
  ["debug", 4],
  ["info", 3],
  ["warn", 2],
  ["error", 1],
  ["silent", 0],
] as const)("at level %s, %p of debug, info, warn and error come through", (level, count) => {
  const { log, lines } = record(level);
  log.debug("a");
  log.info("b");
  log.warn("c");
  log.error("d");
  expect(lines).toHaveLength(count);
});

test("for a person, a line is short, without braces around what every line has", () => {
  const { log, lines } = record("info", "pretty");
  log.info({ event_id: "e1" }, "stored");
  expect(Bun.stripANSI(lines[0] ?? "")).toMatch(
    /^\[\d\d:\d\d:\d\d\.\d{3}\] INFO: stored \{"event_id":"e1"\}\n$/,
  );
});

describe("never in a log, in either format:", () => {
  const names =
    "authorization Authorization x-api-key X-API-Key api_key apiKey secret signing_secret signingSecret payload PAYLOAD ADMIN_TOKEN metrics_token cookie";
  test.each(names.split(" "))("the value of a field named %s", (name) => {
    for (const format of ["json", "pretty"] as const) {
      const { log, lines } = record("debug", format);
      log.info({ [name]: "hush" }, "m");
      log.info({ a: { b: [{ c: { [name]: { deep: "hush" } } }] } }, "m");
      log.child({ [name]: "hush" }).info("m");
      log.error(Object.assign(new Error("m"), { [name]: "hush" }));
      log.error({ err: new Error("m", { cause: Object.assign(new Error("n"), { [name]: "hush" }) }) });
      log.info({ headers: { toJSON: () => ({ [name]: "hush" }) } }, "m");
      expect(lines).toHaveLength(6);
      expect(lines.join("")).not.toContain("hush");
    }
  });

  test("headers of a request", () => {
    const { log, lines } = record();
    log.info({ headers: new Headers({ Authorization: "Bearer hush", accept: "a/b" }) }, "m");
    expect(JSON.parse(lines[0] ?? "").headers).toEqual({ authorization: "[redacted]", accept: "a/b" });
  });

  test.each([KEY, SIGNING])("%s, wherever it stands", (secret) => {
    const { log, lines } = record();
    log.info(`key ${secret}.`);
    log.info({ url: `https://x/?k=${secret}&a=1` }, "%s", secret);
    log.error(new Error(`bad ${secret}`));
    log.child({ who: secret }).info({ list: [secret] }, "m");
    expect(lines).toHaveLength(4);
    expect(lines.join("")).not.toContain(secret);
    for (const line of lines) JSON.parse(line);
  });

  test("a secret at any depth of any object", () => {
    const field = fc.constantFrom("a", "b", "secret", "Payload", "api-key", "payload_bytes");
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof({ depthSize: "small" }, fc.constant("plain"), fc.nat(), tie("object"), tie("list")),
      object: fc.dictionary(field, tie("tree"), { maxKeys: 4 }),
      list: fc.array(tie("tree"), { maxLength: 3 }),
    }));
    fc.assert(
      fc.property(fc.dictionary(field, tree, { maxKeys: 5 }), (fields) => {
        const { log, lines } = record();
        log.info(fields, "m");
        const seen = JSON.parse(lines[0] ?? "", (name, value) => {
          if (["secret", "Payload", "api-key"].includes(name)) expect(value).toBe("[redacted]");
          return value;
        });
        expect(Object.keys(seen)).toEqual(expect.arrayContaining(Object.keys(fields)));
      }),
    );
  });
});

test("what only looks like a secret's name is kept", () => {
  const { log, lines } = record();
  log.info({ payload_bytes: 12, secret_count: 1, key_id: "k1" }, "payload too large");
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({
    payload_bytes: 12,
    secret_count: 1,
    key_id: "k1",
    msg: "payload too large",
  });
});

test("what JSON cannot hold is logged all the same", () => {
  const { log, lines } = record();
  const loop: Record<string, unknown> = { secret: "hush", n: 2n ** 70n, at: new Date(0), none: undefined };
  loop.self = loop;
  log.info({ loop, f: () => 1, nan: Number.NaN }, "m");
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({
    loop: { self: "[Circular]", secret: "[redacted]" },
    nan: null,
  });
});

test("threads log to the same output, every line is out when the process ends, and nothing keeps it from ending", async () => {
  await withTempDir(async (dir) => {
    const script = path.join(dir, "two.ts");
    const logModule = JSON.stringify(path.join(import.meta.dir, "../../src/base/log.ts"));
    writeFileSync(
      script,
      `import { createLog } from ${logModule};
       const log = createLog({ level: "info", format: null });
       for (let n = 0; n < 2000; n += 1) log.info({ n, thread: Bun.isMainThread }, "x".repeat(100));
       if (Bun.isMainThread) {
         const worker = new Worker(import.meta.url);
         worker.addEventListener("close", () => log.info("end"));
       }`,
    );
    const child = Bun.spawn([process.execPath, script], { stdout: "pipe", stderr: "pipe" });
    const lines = (await new Response(child.stdout).text()).trimEnd().split("\n");
    expect(await new Response(child.stderr).text()).toBe("");
    expect(await child.exited).toBe(0);
    const said = lines.map((line) => JSON.parse(line));
    for (const thread of [true, false])
      expect(said.filter((one) => one.thread === thread).map((one) => one.n)).toEqual([
        ...Array(2000).keys(),
      ]);
    expect(said.at(-1).msg).toBe("end");
  });
});

test("a reader that is gone does not stop the process", async () => {
  await withTempDir(async (dir) => {
    const script = path.join(dir, "gone.ts");
    const logModule = JSON.stringify(path.join(import.meta.dir, "../../src/base/log.ts"));
    writeFileSync(
      script,
      `import { createLog } from ${logModule};
       const log = createLog({ level: "info", format: "json" });
       for await (const _ of Bun.stdin.stream()) {} // until the test has closed our standard output
       log.info("into nothing");
       process.exit(7);`,
    );
    const child = Bun.spawn([process.execPath, script], { stdin: "pipe", stdout: "pipe", stderr: "pipe" });
    await child.stdout.cancel();
    await child.stdin.end();
    expect(await child.exited).toBe(7);
  });
});
