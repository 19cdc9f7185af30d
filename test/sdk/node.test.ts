// The client under Node, which has no Bun.* and an older fetch. Node 22.18 and later runs the TypeScript as it is;
// earlier ones get it bundled as for a browser.

import { expect, test } from "bun:test";
import path from "node:path";
import { newSigningSecret, parseSigningSecret } from "../../src/webhook/secret.ts";
import { signatureHeader } from "../../src/webhook/sign.ts";
import { refusingUrl } from "../help/receiver.ts";
import { acceptAll, Stub, told } from "../help/stub.ts";
import { withTempDir } from "../help/temp.ts";

const SDK = path.join(import.meta.dir, "../../src/sdk");
const PARTS = ["client.ts", "verify.ts"];
const node = Bun.which("node");
const said = node === null ? "" : Bun.spawnSync([node, "--version"]).stdout.toString();
const [major = 0, minor = 0] = said.replace(/^v/, "").split(".").map(Number);
const stripsTypes = major > 22 || (major === 22 && minor >= 18);

/** Prints what came of a send, a batch, a lease worker, a stream and a verification. */
const script = (client: string, verify: string) => `
import { Triggers } from ${JSON.stringify(client)};
import { verifyWebhook } from ${JSON.stringify(verify)};
const { url, refusing, secret, headers, body } = JSON.parse(process.env.GIVEN);
const triggers = new Triggers({ url, key: "k" });
const sent = await triggers.send({ type: "t", payload: 1, dedupId: "d" });
const batch = await triggers.sendBatch([{ type: "t", payload: 1 }, { type: "t", payload: 2 }]);
const stop = new AbortController();
const worked = await triggers.work(() => stop.abort(), { signal: stop.signal });
const streamed = [];
for await (const event of triggers.stream()) {
  streamed.push(event.id);
  if (streamed.length === 2) break;
}
const down = await new Triggers({ url: refusing, key: "k", retriesMax: 0 })
  .send({ type: "t", payload: 1 }).catch((error) => error);
const webhook = await verifyWebhook({ secret, headers, body });
const forged = await verifyWebhook({ secret, headers, body: body + " " }).catch((error) => error.code);
console.log(JSON.stringify({ sent, batch, worked, streamed, down: [down.code, down.detail], webhook, forged }));
process.exit(0);
`;

async function run(client: string, verify: string) {
  const accepted = { id: "id-1", status: "accepted", created_at: "2026-11-21T08:30:00.000Z" };
  let streams = 0;
  const stub = new Stub({
    "POST /api/events": () => Response.json(accepted, { status: 202 }),
    "POST /api/events/batch": acceptAll(),
    "POST /api/inbox/lease": () => Response.json({ lease_id: "l", leased_until: null, events: [told("a")] }),
    "POST /api/inbox/ack": () => Response.json({ acknowledged: 1, not_found: [] }),
    "GET /api/inbox/stream": () => {
      streams++;
      return new Response(
        `retry: 1\nid: p${streams}\ndata: ${JSON.stringify(told(`e${streams}`))}\n\nid: cut`,
      );
    },
  });
  const body = '{"id":"e","type":"t","timestamp":"x","data":1.0}';
  const secret = newSigningSecret();
  const parsed = parseSigningSecret(secret);
  const at = Math.floor(Date.now() / 1_000);
  const headers = {
    "webhook-id": "e",
    "webhook-timestamp": String(at),
    "webhook-signature": signatureHeader(parsed.ok ? [parsed.key] : [], "e", at, body),
  };
  try {
    const GIVEN = JSON.stringify({ url: stub.url, refusing: refusingUrl(), secret, headers, body });
    const child = Bun.spawn([node ?? "", "--input-type=module", "-e", script(client, verify)], {
      env: { GIVEN, NODE_NO_WARNINGS: "1" },
      stdout: "pipe",
      stderr: "pipe",
    });
    const [stdout, stderr] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
    ]);
    expect({ code: await child.exited, stderr }).toEqual({ code: 0, stderr: "" });
    expect(JSON.parse(stdout)).toEqual({
      sent: { id: "id-1", status: "accepted", createdAt: accepted.created_at },
      batch: {
        accepted: 2,
        duplicates: 0,
        rejected: 0,
        results: [
          { status: "accepted", id: "id-1" },
          { status: "accepted", id: "id-2" },
        ],
      },
      worked: { done: 1, failed: 0, returned: 0 },
      streamed: ["e1", "e2"],
      down: ["unreachable", expect.stringContaining("ECONNREFUSED")],
      webhook: { id: "e", type: "t", timestamp: "x", payload: 1, payloadText: "1.0" },
      forged: "wrong_signature",
    });
    expect(stub.to("/api/inbox/stream").map((one) => one.headers.get("last-event-id"))).toEqual([null, "p1"]);
  } finally {
    await stub.stop();
  }
}

test.skipIf(major < 20)(
  "the client, bundled, sends, leases, follows and verifies under Node 20 and later",
  () =>
    withTempDir(async (dir) => {
      const entrypoints = PARTS.map((part) => path.join(SDK, part));
      const built = await Bun.build({ entrypoints, target: "browser", format: "esm", outdir: dir });
      expect(built.success).toBe(true);
      await run(path.join(dir, "client.js"), path.join(dir, "verify.js"));
    }),
);

test.skipIf(!stripsTypes)("the client's TypeScript runs under Node as it is", () =>
  run(path.join(SDK, "client.ts"), path.join(SDK, "verify.ts")),
);
