// The whole job in one terminal: a server over a new directory, a receiver, an event, its verified webhook, the
// acknowledged inbox; each step with how long it took. Everything is real, and removed at the end.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Webhook } from "standardwebhooks";
import { startProcess } from "./listening.ts";

const root = path.join(import.meta.dir, "..");
const dataDir = mkdtempSync(path.join(tmpdir(), "zapier-triggers-demo-"));

type Got = { readonly body: string; readonly headers: Record<string, string>; readonly atMs: number };
const got = Promise.withResolvers<Got>();
const receiver = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  async fetch(request) {
    const atMs = performance.now();
    got.resolve({ body: await request.text(), headers: Object.fromEntries(request.headers), atMs });
    return new Response("thank you");
  },
});

const startMs = performance.now();
const server = await startProcess([process.execPath, path.join(root, "src/main.ts"), "serve"], {
  cwd: dataDir,
  env: { HOST: "127.0.0.1", PORT: "0", DATA_DIR: dataDir, WEBHOOK_ALLOW_PRIVATE: "true" },
});

try {
  await demo(server.url);
} finally {
  server.child.kill("SIGTERM");
  await server.child.exited;
  await receiver.stop(true);
  rmSync(dataDir, { recursive: true, force: true });
}

async function demo(url: string): Promise<void> {
  step("the server listens", startMs, url);

  const made = await timed("an organization and its key are made", () =>
    call(url, "POST", "/api/keys/generate", null, { organization_name: "Demo" }),
  );
  const key = String(made.api_key);
  const hook = await timed("its webhook is set", () =>
    call(url, "POST", "/api/webhook/config", key, { webhook_url: `http://127.0.0.1:${receiver.port}/` }),
  );

  const sentMs = performance.now();
  const event = await timed("an event is accepted: it is on disk now", () =>
    call(url, "POST", "/api/events", key, { type: "order.created", payload: { order: 1042, total: 129.9 } }),
  );
  console.log(`    id ${event.id}`);
  const { body, headers, atMs } = await got.promise;
  step("the webhook came in", sentMs, "from sending the event", atMs);
  console.log(`    ${body}`);
  new Webhook(String(hook.signing_secret)).verify(body, headers);
  console.log("  ✓ its signature is verified by the official standardwebhooks library");

  let seen = await call(url, "GET", `/api/events/${event.id}`, key);
  while (seen.status !== "delivered") seen = await call(url, "GET", `/api/events/${event.id}`, key);
  step("the delivery is recorded", sentMs, "from sending the event");
  await timed("the event is acknowledged", () => call(url, "POST", `/api/ack/${event.id}`, key));
  const inbox = await timed("the inbox has nothing undelivered", () =>
    call(url, "GET", "/api/inbox?status=undelivered", key),
  );
  console.log(`    ${JSON.stringify(inbox)}`);
}

async function call(url: string, method: string, where: string, key: string | null, body?: object) {
  const response = await fetch(url + where, {
    method,
    headers: { "content-type": "application/json", ...(key ? { "x-api-key": key } : {}) },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${where} answered ${response.status}: ${text}`);
  return JSON.parse(text) as Record<string, unknown>;
}

async function timed<T>(what: string, work: () => Promise<T>): Promise<T> {
  const fromMs = performance.now();
  const value = await work();
  step(what, fromMs);
  return value;
}

function step(what: string, fromMs: number, note = "", toMs = performance.now()): void {
  console.log(`  ✓ ${what.padEnd(42)} ${(toMs - fromMs).toFixed(1).padStart(7)} ms  ${note}`);
}
