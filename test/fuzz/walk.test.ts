// Random walks over all calls by two organizations at once: never a 5xx, never an answer that the document does not
// tell, and nothing of the one in any answer to the other, nor in its webhooks. Seeds are printed by fast-check.

import { afterAll, beforeAll, expect, test } from "bun:test";
import fc from "fast-check";
import { answer, type Receiver, startReceiver } from "../help/receiver.ts";
import { TestServer } from "../help/server.ts";
import { StreamReader } from "../help/sse.ts";
import { CALLS } from "./calls.ts";
import { ServedDocument } from "./served_document.ts";
import { ADMIN_TOKEN, Tenant } from "./tenant.ts";
import { type Step, Walk } from "./walk.ts";

const WALKS = 14;
/** Each takes two organizations, of the 60 that one address may make in a minute: so many, shrinking included. */
const WALKS_MAX = 28;
const STEPS_MAX = 120;
const BUDGET_MS = 20_000;

let server: TestServer;
let receiver: Receiver;
let document: ServedDocument;
const answered = new Map<string, Set<number>>();

beforeAll(async () => {
  receiver = startReceiver();
  receiver.on("*", ({ path }) => answer(path.endsWith("/fails") ? 500 : path.endsWith("/gone") ? 410 : 200));
  server = await TestServer.start({
    env: { ADMIN_TOKEN, WEBHOOK_ALLOW_PRIVATE: "true", RETRY_SCHEDULE: "20ms,20ms" },
  });
  document = await ServedDocument.of(server);
});
afterAll(async () => {
  await server?.stop();
  receiver?.stop();
});

const names = Object.entries(CALLS).map(([name, [weight]]) => ({ arbitrary: fc.constant(name), weight }));
const step: fc.Arbitrary<Step> = fc.record(
  {
    who: fc.constantFrom<0 | 1>(0, 1),
    call: fc.oneof(...names),
    own: fc.integer({ min: 0, max: 3 }).map((n) => n > 0),
    nth: fc.nat(1_000),
    more: fc.nat(1_000),
    flag: fc.boolean(),
    text: fc.string({ unit: "binary", maxLength: 80 }),
  },
  { noNullPrototype: true },
);

/** Everything that a stream tells, read on in the background until it is closed. */
async function follow(tenant: Tenant) {
  const reader = await StreamReader.open(`${server.url}/api/inbox/stream`, { "x-api-key": tenant.key });
  let text = "";
  const ended = (async () => {
    for (let sent = await reader.next(); sent !== null; sent = await reader.next()) text += sent.data;
  })().catch(() => {});
  return { reader, ended, told: () => text };
}

async function walkOf(steps: readonly Step[], atOnce: number): Promise<void> {
  const [first, second] = [await Tenant.create(server), await Tenant.create(server)];
  const streams = await Promise.all([follow(first), follow(second)]);
  const walk = new Walk({ server, document, receiverUrl: receiver.url, answered }, [first, second]);
  await walk.run(steps, atOnce);
  for (const { reader } of streams) reader.close();
  await Promise.all(streams.map(({ ended }) => ended));
  const told = [streams[0].told().includes(second.marker), streams[1].told().includes(first.marker)];
  expect(told).toEqual([false, false]);
}

test("two organizations that do anything at all never see each other, a 5xx, or an undocumented answer", async () => {
  const endMs = performance.now() + BUDGET_MS;
  let walks = 0;
  let hasFailed = false;
  const steps = fc.array(step, { minLength: 1, maxLength: STEPS_MAX, size: "max" });
  const property = fc.asyncProperty(steps, fc.integer({ min: 1, max: 6 }), async (steps, atOnce) => {
    // A slow machine makes fewer walks; one that failed is made smaller, however long that takes.
    if ((performance.now() > endMs && !hasFailed) || walks === WALKS_MAX) return;
    walks++;
    hasFailed = true;
    await walkOf(steps, atOnce);
    hasFailed = false;
  });
  const details = await fc.check(property, { numRuns: WALKS });
  console.log(`seed ${details.seed}: ${walks} walks`);
  if (details.failed) {
    const report = await fc.asyncDefaultReportMessage(details);
    throw new Error(`${report}\n${details.errorInstance}`);
  }
  expect(walks).toBeGreaterThan(0);
}, 180_000);

/** Every call a few times by each, what deletes last, and after that each on what is the other's. */
function tour(): Step[] {
  const isLate = (call: string) => call.startsWith("delete");
  const calls = Object.keys(CALLS).sort((a, b) => Number(isLate(a)) - Number(isLate(b)));
  const passes = [0, 1, 2, 3].map((nth) => ({ own: true, nth, more: nth, flag: nth % 2 === 1, text: "x" }));
  const foreign = [0, 1].map((nth) => ({ own: false, nth, more: nth, flag: true, text: "\0" }));
  return [...passes, ...foreign].flatMap((draw) =>
    ([0, 1] as const).flatMap((who) => calls.map((call) => ({ ...draw, who, call }))),
  );
}

test("a tour of every call of the document by two organizations succeeds with all that is their own", async () => {
  answered.clear();
  await walkOf(tour(), 1);

  // The first and the last of an organization's life are made otherwise, and streams are open beside the walk.
  const not = ["POST /api/keys/generate", "DELETE /api/admin/organizations/{id}", "GET /api/inbox/stream"];
  const wanted = document.calls.filter((call) => !not.includes(call));
  const refused = wanted.filter((call) => ![...(answered.get(call) ?? [])].some((status) => status < 300));
  expect(refused).toEqual([]);
});

test("no webhook of one organization got an event of another", () => {
  expect(receiver.received.length).toBeGreaterThan(0);
  for (const { path, body, rawHeaders } of receiver.received) {
    const own = path.split("/")[1] ?? "";
    const markers = new Set(`${body} ${JSON.stringify(rawHeaders)}`.match(/m[0-9a-f]{32}/g));
    expect([...markers.add(own)]).toEqual([own]);
    expect(body.includes(own) || body.includes('"type":"webhook.test"')).toBe(true);
  }
});
