// Receives webhooks and verifies them. The secret is in the answer that made the endpoint.
//   SIGNING_SECRET=whsec_... PORT=8080 bun examples/receiver.ts
// For a try on one machine, start the server with WEBHOOK_ALLOW_PRIVATE=true, and make an endpoint for
// http://127.0.0.1:8080/.

import { verifyWebhook, WebhookError } from "../src/sdk/verify.ts";

const secret = process.env.SIGNING_SECRET;
if (!secret) throw new Error("SIGNING_SECRET is missing");
/** Delivery is at least once. A real receiver keeps these in its database, in the transaction that does the work. */
const seen = new Set<string>();

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.env.PORT ?? 8080),
  async fetch(request) {
    try {
      // The bytes as they came: JSON that was parsed and written again has another signature.
      const webhook = await verifyWebhook({ secret, headers: request.headers, body: await request.bytes() });
      if (!seen.has(webhook.id)) console.log(`${webhook.type} ${webhook.id} ${webhook.payloadText}`);
      seen.add(webhook.id);
      return new Response(null, { status: 204 });
    } catch (error) {
      if (!(error instanceof WebhookError)) throw error;
      console.error(`refused: ${error.code}`);
      return new Response(error.message, { status: 400 });
    }
  },
});
console.log(`listening on ${server.url}`);
