// What is sent is what is stored and told: the very JSON text. The corpus is every webhook payload that GitHub
// documents; the oddities are what a parser would lose.

import { afterAll, beforeAll, expect, test } from "bun:test";
import examples from "@octokit/webhooks-examples";
import { type Organization, TestServer } from "../help/server.ts";

// For a busy machine; no test measures time.

let server: TestServer;
let acme: Organization;

beforeAll(async () => {
  server = await TestServer.start();
  acme = await server.organization();
});
afterAll(async () => {
  await server?.stop();
});

const odd = [
  "9007199254740993",
  "-0",
  "0.0",
  "1.0",
  "1e400",
  "-1E-400",
  "123456789012345678901234567890.123456789",
  "null",
  "false",
  '""',
  '"\\u0000"',
  '"\\ud800"',
  '"\\/\\u00e9\\b"',
  '"é😀\u2028\u2029\ufeff"',
  "[]",
  "{}",
  '{"b":1,"a":2,"b":3}',
  '{"__proto__":{"x":1},"constructor":null}',
  '{"2":1,"1":2,"10":3}',
  '{ "a" : [ 1 ,\t2 ] ,\r\n "b":null }',
];

test("every oddity of JSON comes back as it was written", async () => {
  for (const payload of odd) {
    const sent = await acme.api.post("/api/events", `{ "payload" : ${payload} , "type":"odd" }`);
    expect([payload, sent.status]).toEqual([payload, 202]);
    expect((await acme.api.get(`/api/events/${sent.body.id}`)).text).toContain(
      `"payload":${payload},"status"`,
    );
    expect((await acme.api.get("/api/inbox?limit=1")).text).toContain(`"payload":${payload},"status"`);
  }
});

test("a payload that is there twice is the last one, as JSON says", async () => {
  const body = '{"payload":1,"type":"twice","pay\\u006coad":{"last":1.0}}';
  const sent = await acme.api.post("/api/events", body);
  expect((await acme.api.get(`/api/events/${sent.body.id}`)).text).toContain(
    '"payload":{"last":1.0},"status"',
  );
});

test("every payload of GitHub's webhooks comes back from the inbox as the same text", async () => {
  const payloads = examples.flatMap((event) => event.examples.map((one: unknown) => ({ event, one })));
  expect(payloads.length).toBeGreaterThan(200);
  for (const { event, one } of payloads) {
    const payload = JSON.stringify(one, null, 1);
    const sent = await acme.api.post("/api/events", `{"type":"github.${event.name}","payload":${payload}}`);
    expect(sent.status).toBe(202);
    const page = await acme.api.get("/api/inbox?limit=1");
    expect(page.body.events[0].id).toBe(sent.body.id);
    expect(page.text.includes(`"payload":${payload},"status"`)).toBe(true);
  }
});
