// What goes in comes out: the same JSON text in the inbox, by id and in the webhook. With every real GitHub webhook
// of @octokit/webhooks-examples, and with texts that a parser would change.

import { afterEach, expect, test } from "bun:test";
import githubWebhooks from "@octokit/webhooks-examples";
import { Webhook } from "standardwebhooks";
import { startReceiver } from "../help/receiver.ts";
import { TestServer } from "../help/server.ts";

const open: { stop(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.stop();
});

const awkward = [
  "9007199254740993",
  "1.0",
  "1e400",
  "-0",
  "1E+2",
  "null",
  "false",
  '""',
  "{}",
  "[ ]",
  '{"b":1,"a":2,"b":3}',
  '{"10":1,"9":2,"__proto__":{"x":1},"constructor":null}',
  String.raw`"\u00e9\/\u0000\ud800 \uD83D\uDE00"`,
  '"é 😀 \u2028 \u007f"',
  '{ "spaced" :\t[ 1 ,\r\n 2 ] }',
  `${"[".repeat(500)}${"]".repeat(500)}`,
  JSON.stringify("x".repeat(200_000)),
];

/** Real payloads, one way of writing after the other. */
const github = githubWebhooks
  .flatMap(({ examples }) => examples)
  .map((example, i) => JSON.stringify(example, null, [undefined, 2, "\t"][i % 3]));

test(`${github.length} real payloads and ${awkward.length} awkward ones keep their JSON text`, async () => {
  expect(github.length).toBeGreaterThan(300);
  const receiver = startReceiver();
  open.push(receiver);
  const server = await TestServer.start({ env: { WEBHOOK_ALLOW_PRIVATE: "true" } });
  open.push(server);
  const { api } = await server.organization();
  const { body: hook } = await api.post("/api/webhook/config", { webhook_url: receiver.url });
  const textOf = new Map<string, string>();
  for (const [i, text] of [...github, ...awkward].entries()) {
    // Members in any order, white space around them: only the payload's own text counts.
    const body = i % 2 ? `{"payload":${text},"type":"github"}` : `{ "type":"github", "payload" : ${text} }`;
    const sent = await api.post("/api/events", body);
    expect(sent.status).toBe(202);
    textOf.set(sent.body.id, text);
    if (i % 20 === 0 || i >= github.length) {
      expect((await api.get(`/api/events/${sent.body.id}`)).text).toContain(`"payload":${text},`);
    }
  }
  const ids = [...textOf.keys()];
  await receiver.waitFor(ids.length);
  const verifier = new Webhook(hook.signing_secret);
  for (const { body, rawHeaders } of receiver.received) {
    const id = /^\{"id":"([^"]+)"/.exec(body)?.[1] ?? "";
    expect(body.endsWith(`,"data":${textOf.get(id)}}`)).toBe(true);
    verifier.verify(body, Object.fromEntries(rawHeaders));
  }
  expect(new Set(receiver.received.map((one) => one.header("webhook-id")))).toEqual(new Set(ids));
  const pages: string[] = [];
  let cursor = "";
  do {
    const page = await api.get(`/api/inbox?order=asc&limit=50${cursor}`);
    pages.push(page.text);
    cursor = page.body.has_more ? `&cursor=${encodeURIComponent(page.body.next_cursor)}` : "";
  } while (cursor !== "");
  let at = 0;
  const all = pages.join("\n");
  for (const text of textOf.values()) {
    at = all.indexOf(`"payload":${text},"status"`, at);
    expect(at).toBeGreaterThanOrEqual(0);
    at += text.length;
  }
});
