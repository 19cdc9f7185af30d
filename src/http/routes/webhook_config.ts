// /api/webhook/config: the organization's one endpoint, called "default". Surprise: a new URL keeps the secret, so
// that moving a receiver does not break its checks; deleting and setting again makes a new one.

import { Elysia } from "elysia";
import { rfc3339 } from "../../base/time.ts";
import type { Endpoint, Organization } from "../../store/store.ts";
import { newSigningSecret } from "../../webhook/secret.ts";
import { SetWebhook, WebhookConfig } from "../../wire/webhook_config.ts";
import { actorOf } from "../actor.ts";
import { json, type Kit, noContent } from "../call.ts";
import type { Deps } from "../deps.ts";
import { allowedUrl } from "../endpoint_settings.ts";
import { operation } from "../operation.ts";
import { HttpProblem } from "../problem.ts";
import { hook } from "../route.ts";
import { stored, timed } from "../stored.ts";

const set = operation({
  id: "setWebhook",
  tag: "Webhook",
  summary: "Set the webhook",
  description:
    "From now on each new event is sent to this URL, signed as Standard Webhooks says " +
    "(https://www.standardwebhooks.com): `webhook-id`, `webhook-timestamp`, `webhook-signature`. The answer has the " +
    "secret to check them with. Setting it again changes the URL and keeps the secret.\n\n" +
    "This is the endpoint called `default` among `/api/endpoints`, where it can be tested, given headers and limits, " +
    "and others made beside it.",
  access: "manage",
  body: SetWebhook,
  answers: { 200: { description: "The webhook as it is now.", schema: WebhookConfig } },
  problems: ["overloaded", "storage_unavailable"],
});

const show = operation({
  id: "getWebhook",
  tag: "Webhook",
  summary: "Show the webhook",
  description:
    "Without its secret: that is told when the webhook is set, and by `POST /api/endpoints/:id/rotate-secret`.",
  access: "manage",
  answers: { 200: { description: "The webhook.", schema: WebhookConfig } },
  problems: ["not_found"],
});

const remove = operation({
  id: "deleteWebhook",
  tag: "Webhook",
  summary: "Delete the webhook",
  description: "Deliveries that wait are cancelled; the events stay in the inbox.",
  access: "manage",
  answers: { 204: { description: "It is deleted." } },
  problems: ["not_found", "overloaded", "storage_unavailable"],
});

export function webhookConfigRoutes(kit: Kit, deps: Deps) {
  const { store, egress, metrics, log } = deps;
  const latency = metrics.db.webhook;
  const path = "/api/webhook/config";

  return new Elysia()
    .post(
      path,
      kit.handle(set, async (call) => {
        const { body, requestId, principal } = call;
        const { org, organization } = principal;
        const url = allowedUrl(body.webhook_url, egress, "/webhook_url");
        // Used when there is no webhook yet; the store keeps the secret of one that is there.
        const input = { url, signingSecret: newSigningSecret() };
        const put = () => store.putDefaultEndpoint(org, input, actorOf(kit, deps, call));
        const outcome = stored(await timed(latency, put));
        const { endpoint, signingSecret } = outcome;
        log.info(
          { request_id: requestId, organization_id: organization.id, endpoint_id: endpoint.id },
          "webhook set",
        );
        return json(200, webhookTold(organization, endpoint, signingSecret));
      }),
      hook(set),
    )
    .get(
      path,
      kit.handle(show, ({ principal: { org, organization } }) => {
        const endpoint = timed(latency, () => store.defaultEndpoint(org));
        if (endpoint === null) throw notSet();
        return json(200, webhookTold(organization, endpoint, null));
      }),
      hook(show),
    )
    .delete(
      path,
      kit.handle(remove, async (call) => {
        const { principal, requestId } = call;
        const { org, organization } = principal;
        const endpoint = store.defaultEndpoint(org);
        if (endpoint === null) throw notSet();
        const run = () => store.deleteEndpoint(org, endpoint.id, actorOf(kit, deps, call));
        const outcome = stored(await timed(latency, run));
        if (outcome === "not_found") throw notSet();
        log.info({ request_id: requestId, organization_id: organization.id }, "webhook deleted");
        return noContent;
      }),
      hook(remove),
    );
}

function webhookTold(organization: Organization, endpoint: Endpoint, signingSecret: string | null) {
  return {
    organization_id: organization.id,
    endpoint_id: endpoint.id,
    webhook_url: endpoint.url,
    signing_secret: signingSecret,
    updated_at: rfc3339(endpoint.updatedAtMs),
  };
}

function notSet(): HttpProblem {
  return new HttpProblem("not_found", { detail: "No webhook is set. Set one: POST /api/webhook/config." });
}
