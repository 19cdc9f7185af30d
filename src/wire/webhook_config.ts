// The organization's one webhook endpoint, for all of its events.

import { z } from "zod";
import { id, time } from "./text.ts";

export const URL_CHARACTERS_MAX = 2_048;

export const SetWebhook = z
  .strictObject({
    webhook_url: z
      .string("It must be a string.")
      .min(1, "It must be a URL.")
      .max(URL_CHARACTERS_MAX, `It must have at most ${URL_CHARACTERS_MAX} characters.`)
      .meta({
        description:
          "Where events are sent by POST. It must be https and public, unless the operator opened private networks " +
          "with WEBHOOK_ALLOW_PRIVATE.",
        examples: ["https://example.com/hook"],
      }),
  })
  .meta({ id: "SetWebhook", description: "Where to send this organization's events." });

export const WebhookConfig = z
  .object({
    organization_id: id("The organization's id."),
    endpoint_id: id("The endpoint's id."),
    webhook_url: z
      .string()
      .meta({ description: "Where events are sent.", examples: ["https://example.com/hook"] }),
    signing_secret: z.string().meta({
      description:
        "Verifies the `webhook-signature` header of what is sent (Standard Webhooks). It stays the same when the URL " +
        "changes; deleting the webhook and setting it again makes a new one.",
      examples: ["whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="],
    }),
    updated_at: time("When it was set last."),
  })
  .meta({ id: "WebhookConfig", description: "The organization's webhook." });
