// The organization's default webhook endpoint, for all of its events unless it was changed.

import { z } from "zod";
import { webhookUrl } from "./endpoint.ts";
import { id, time } from "./text.ts";

export const SetWebhook = z
  .strictObject({ webhook_url: webhookUrl })
  .meta({ id: "SetWebhook", description: "Where to send this organization's events." });

export const WebhookConfig = z
  .object({
    organization_id: id("The organization's id."),
    endpoint_id: id("The endpoint's id."),
    webhook_url: z
      .string()
      .meta({ description: "Where events are sent.", examples: ["https://example.com/hook"] }),
    signing_secret: z
      .string()
      .nullable()
      .meta({
        description:
          "Verifies the `webhook-signature` header of what is sent (Standard Webhooks). It is told when the webhook is " +
          "set; `GET` tells null. It stays the same when the URL changes; deleting the webhook and setting it again " +
          "makes a new one.",
        examples: ["whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="],
      }),
    updated_at: time("When it was set last."),
  })
  .meta({ id: "WebhookConfig", description: "The organization's webhook." });
