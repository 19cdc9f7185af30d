// No secret leaves by a side door: not in the log at its loudest, not in an error, a metric, a file's name, the process's
// title or its threads' names, and none but the ones that must be known to send is in a file.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { eventWithStatus } from "../help/eventually.ts";
import { answer, startReceiver } from "../help/receiver.ts";
import { type Answer, apiOf, TestServer } from "../help/server.ts";

const ADMIN_TOKEN = "admin-token-Zq7-that-nobody-reads";
const METRICS_TOKEN = "metrics-token-Zq7-that-nobody-reads";
const ENCRYPTION_KEY = "5e".repeat(32);
const HEADER = "own-header-Zq7-that-nobody-reads";
const URL_TOKEN = "url-token-Zq7-that-nobody-reads";
const PAYLOAD = "payload-Zq7-that-nobody-reads";
const ANSWERED = "answer-Zq7-that-nobody-reads";

const receiver = startReceiver();
let server: TestServer;
/** Everything that was answered to somebody who had no right to a secret. */
const answers: Answer[] = [];
/** By what it is. */
const secrets: Record<string, string> = {
  ...{ ADMIN_TOKEN, METRICS_TOKEN, ENCRYPTION_KEY, HEADER, URL_TOKEN, PAYLOAD, ANSWERED },
};

beforeAll(async () => {
  receiver.on("/failing", answer(500, { body: ANSWERED }));
  const env = {
    ...{ ADMIN_TOKEN, METRICS_TOKEN, ENCRYPTION_KEY, LOG_LEVEL: "debug" },
    ...{ WEBHOOK_ALLOW_PRIVATE: "true", RETRY_SCHEDULE: "1h" },
  };
  server = await TestServer.start({ env });
  await work();
});
afterAll(async () => {
  await server?.stop();
  receiver.stop();
});

/** A bit of everything, right and wrong. */
async function work(): Promise<void> {
  const operator = apiOf(server.url, { authorization: `Bearer ${ADMIN_TOKEN}` });
  const made = await operator.post("/api/keys/generate", { organization_name: "Acme", tier: "pro" });
  const api = server.api(made.body.api_key);
  const second = await api.post("/api/keys", { scopes: ["publish"] });
  const rotated = await api.post("/api/keys/rotate", { overlap_seconds: 600 });
  const url = `${receiver.url}/failing?token=${URL_TOKEN}`;
  const endpoint = await api.post("/api/endpoints", { url, headers: { authorization: HEADER } });
  const renewed = await api.post(`/api/endpoints/${endpoint.body.id}/rotate-secret`);
  const keys = [made, second, rotated].map(({ body }) => body.api_key as string);
  keys.forEach((key, i) => {
    secrets[`key ${i}`] = key;
    secrets[`secret part of key ${i}`] = key.slice(15, 58);
  });
  secrets["signing secret"] = endpoint.body.signing_secret;
  secrets["next signing secret"] = renewed.body.signing_secret;

  const event = await api.post("/api/events", { type: "a", payload: PAYLOAD, dedup_id: "d" });
  await eventWithStatus(api, event.body.id, "failed");
  await api.post(`/api/endpoints/${endpoint.body.id}/test`);
  const stranger = server.api(`${keys[0]?.slice(0, -1)}_`);
  answers.push(
    event,
    await api.post("/api/events", { type: "a", payload: PAYLOAD, dedup_id: "d" }),
    await api.post("/api/events", { type: "a b", payload: PAYLOAD }),
    await api.post("/api/events", `{"type":"a","payload":"${PAYLOAD}"`),
    await api.post("/api/events", { type: "a", payload: 1, [PAYLOAD.slice(0, 3)]: HEADER }),
    await api.post("/api/endpoints", { url: `ftp://user:${URL_TOKEN}@example.com/` }),
    await api.post("/api/endpoints", { url, headers: { "bad header": HEADER } }),
    await api.post("/api/endpoints", { url, signing_secret: `whsec_${HEADER}` }),
    await api.get(`/api/inbox?cursor=${URL_TOKEN}`),
    await stranger.get("/api/inbox"),
    await apiOf(server.url, { authorization: `Bearer ${ADMIN_TOKEN}x` }).get("/api/admin/audit"),
    await operator.get("/api/admin/audit"),
    await operator.get("/api/admin/organizations"),
    await api.get("/api/keys"),
    await apiOf(server.url, { authorization: `Bearer ${METRICS_TOKEN}` }).get("/metrics"),
    await server.api().get("/health/ready"),
    await server.api().get("/docs/json"),
  );
}

function expectNoneIn(text: string, where: string): void {
  for (const [what, secret] of Object.entries(secrets)) {
    if (text.includes(secret)) throw new Error(`the ${what} is in ${where}`);
  }
}

test("in no log line, at the loudest level", () => {
  expect(server.output).toContain("endpoint made");
  expectNoneIn(server.output, "the log");
});

test("in no error, list, metric, audit entry or page", () => {
  expect(answers.map(({ status }) => status)).toContain(401);
  for (const { status, text, headers } of answers) {
    expectNoneIn(text + JSON.stringify([...headers]), `an answer of ${status}: ${text.slice(0, 80)}`);
  }
});

test.skipIf(!existsSync("/proc/self/task"))("in no process title, thread name or working directory", () => {
  const proc = `/proc/${server.pid}`;
  const tasks = readdirSync(`${proc}/task`);
  const names = tasks.map((task) => readFileSync(`${proc}/task/${task}/comm`, "utf8"));
  expect(tasks.length).toBeGreaterThan(2);
  expectNoneIn([readFileSync(`${proc}/cmdline`, "latin1"), ...names].join("\n"), "the process's title");
});

test("in no file's name, and of what is in the files none is readable that need not be", async () => {
  await server.stop();
  const files = readdirSync(server.dataDir);
  expectNoneIn(files.join("\n"), "a file's name");
  const isKept = new Set(["PAYLOAD", "ANSWERED", "URL_TOKEN"]);
  for (const name of files) {
    const text = readFileSync(path.join(server.dataDir, name), "latin1");
    for (const [what, secret] of Object.entries(secrets)) {
      if (!isKept.has(what) && text.includes(secret)) throw new Error(`the ${what} is in ${name}`);
    }
  }
});
