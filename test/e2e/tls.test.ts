// Delivery over TLS as an on-prem operator has it: the real process, receivers with certificates of a private authority,
// and only the networks open that WEBHOOK_ALLOW_PRIVATE lists.

import { afterEach, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { Webhook } from "svix";
import { eventWithStatus } from "../help/eventually.ts";
import {
  type Certified,
  certified,
  createAuthority,
  type Receiver,
  startReceiver,
} from "../help/receiver.ts";
import { type Organization, TestServer } from "../help/server.ts";
import { tempDir } from "../help/temp.ts";

const HOUR_MS = 3_600_000;
const authority = createAuthority();
const trusted = authority.issue({ names: ["localhost", "127.0.0.1"] });
const OPEN = { WEBHOOK_ALLOW_PRIVATE: "127.0.0.0/8", RETRY_SCHEDULE: "20ms,20ms" };
const TRUST = { ...OPEN, NODE_EXTRA_CA_CERTS: path.join(tempDir(), "ca.pem") };
beforeAll(() => writeFileSync(TRUST.NODE_EXTRA_CA_CERTS, authority.pem));

const open: { stop(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.stop();
});

async function server(env: Record<string, string>, dataDir = tempDir()): Promise<TestServer> {
  const started = await TestServer.start({ env, dataDir });
  open.push(started);
  return started;
}

function receiver(tls: Certified): Receiver {
  const started = startReceiver({ tls });
  open.push(started);
  return started;
}

async function configure({ api }: Organization, url: string): Promise<string> {
  const { status, body } = await api.post("/api/webhook/config", { webhook_url: url });
  expect(status).toBe(200);
  return body.signing_secret;
}

async function send({ api }: Organization, payload: unknown): Promise<string> {
  const { status, body } = await api.post("/api/events", { type: "order.created", payload });
  expect(status).toBe(202);
  return body.id;
}

test("an event reaches an https receiver of a private authority, signed so that svix verifies it", async () => {
  const to = receiver(trusted);
  const organization = await (await server(TRUST)).organization();
  const secret = await configure(organization, `https://localhost:${to.port}/hook`);
  const id = await send(organization, { total: 12.5 });
  const got = await to.next();
  new Webhook(secret).verify(got.body, Object.fromEntries(got.rawHeaders));
  expect(got.path).toBe("/hook");
  expect(got.servername).toBe("localhost");
  expect(got.header("host")).toBe(`localhost:${to.port}`);
  expect(got.header("webhook-id")).toBe(id);
  const event = await eventWithStatus(organization.api, id, "delivered");
  expect(event).toMatchObject({ attempts: 1, response_status: 200, last_error: null });
});

test("one TLS connection carries delivery after delivery", async () => {
  const to = receiver(trusted);
  const organization = await (await server(TRUST)).organization();
  await configure(organization, `https://127.0.0.1:${to.port}/`);
  for (let turn = 0; turn < 5; turn++) {
    await eventWithStatus(organization.api, await send(organization, turn), "delivered");
  }
  expect(to.received.map(({ connection }) => connection)).toEqual([1, 1, 1, 1, 1]);
});

test.each([{}, { NODE_TLS_REJECT_UNAUTHORIZED: "0" }])(
  "a receiver whose authority nobody named is not trusted with %j, and is tried again until the schedule ends",
  async (env) => {
    const to = receiver(trusted);
    const organization = await (await server({ ...OPEN, ...env })).organization();
    await configure(organization, `https://localhost:${to.port}/`);
    const event = await eventWithStatus(organization.api, await send(organization, 1), "dead_letter");
    expect(event).toMatchObject({ attempts: 3, response_status: null });
    expect(event.last_error).toStartWith("tls_failed: ");
    expect(to.connectionsSeen).toBe(3);
    expect(to.received).toEqual([]);
  },
);

test("a certificate that is another's, has expired or vouches for itself is refused, whatever the environment asks", async () => {
  const at = await server({ ...TRUST, NODE_TLS_REJECT_UNAUTHORIZED: "0" });
  const faults: [Certified, code: string][] = [
    [authority.issue({ names: ["elsewhere.test"] }), "ERR_TLS_CERT_ALTNAME_INVALID"],
    [authority.issue({ names: ["localhost"], validUntilMs: Date.now() - HOUR_MS }), "CERT_HAS_EXPIRED"],
    [certified({ names: ["localhost"] }), "DEPTH_ZERO_SELF_SIGNED_CERT"],
  ];
  for (const [tls, code] of faults) {
    const to = receiver(tls);
    const organization = await at.organization();
    await configure(organization, `https://localhost:${to.port}/`);
    const event = await eventWithStatus(organization.api, await send(organization, 1), "dead_letter");
    expect(event.last_error).toContain(code);
    expect(to.received).toEqual([]);
  }
});

test("a receiver that was not trusted gets its event once the operator has named its authority", async () => {
  const to = receiver(trusted);
  const RETRY_SCHEDULE = Array(100).fill("200ms").join(","); // longer than any restart
  const first = await server({ ...OPEN, RETRY_SCHEDULE });
  const organization = await first.organization();
  await configure(organization, `https://localhost:${to.port}/`);
  const id = await send(organization, 1);
  expect((await eventWithStatus(organization.api, id, "failed")).last_error).toStartWith("tls_failed: ");
  await first.kill("SIGTERM");
  const api = (await server({ ...TRUST, RETRY_SCHEDULE }, first.dataDir)).api(organization.key);
  expect((await eventWithStatus(api, id, "delivered")).attempts).toBeGreaterThan(1);
  expect(to.received).toHaveLength(1);
});

test("an address is checked again at each attempt: one in a network that was closed since gets nothing", async () => {
  const to = receiver(trusted);
  const first = await server(TRUST);
  const organization = await first.organization();
  await configure(organization, `https://localhost:${to.port}/`);
  await first.kill("SIGTERM");
  const env = { ...TRUST, WEBHOOK_ALLOW_PRIVATE: "10.0.0.0/8" };
  const api = (await server(env, first.dataDir)).api(organization.key);
  const id = await send({ ...organization, api }, 1);
  const { last_error } = await eventWithStatus(api, id, "dead_letter");
  expect(last_error).toStartWith("blocked_address: ");
  expect(last_error).toContain("WEBHOOK_ALLOW_PRIVATE");
  expect(to.connectionsSeen).toBe(0);
});
