// API keys: how they are asked for, and what is told of them. A key's text is told once, when it is made.

import { z } from "zod";
import { rfc3339 } from "../base/time.ts";
import { organizationTold, tier } from "./organization.ts";
import { text, time, timeInput, timeOrNull, wholeNumber } from "./text.ts";
import { scopes, type Tier } from "./tiers.ts";

export const ORGANIZATION_NAME_CHARACTERS_MAX = 255;
export const KEY_NAME_CHARACTERS_MAX = 255;
/** A week: long enough for any deployment, short enough that an old key is not forgotten. */
export const OVERLAP_SECONDS_MAX = 604_800;

const NAME_DETAIL = "Give the organization's name as organization_name (or, the same, as org_name), once.";

function organizationName(description: string) {
  return text(ORGANIZATION_NAME_CHARACTERS_MAX, { description, examples: ["Acme GmbH"] })
    .refine((value) => value === "" || value.trim() !== "", "It must not be blank.")
    .optional();
}

export const GenerateKey = z
  .strictObject({
    organization_name: organizationName("A name for the new organization. Names need not be unique."),
    org_name: organizationName("The same, by its short name. Give one of the two."),
    tier: tier.default("free"),
  })
  .refine(
    ({ organization_name, org_name }) => (organization_name === undefined) !== (org_name === undefined),
    { path: ["organization_name"], message: NAME_DETAIL },
  )
  .meta({
    id: "GenerateKey",
    description: "A new organization.",
    examples: [{ organization_name: "Acme GmbH", tier: "free" }],
  });

const apiKey = z.string().meta({
  description: "The key, 64 characters. This is the only time it is shown.",
  examples: ["zap_live_A1b2C3YOUR0KEY0IS0SHOWN0ONCE0AND0HAS0SIXTY0FOUR0CHARACTERS00"],
});
const keyId = z
  .string()
  .meta({ description: "The key's public id. It may be shown and logged.", examples: ["A1b2C3"] });
const warning = z
  .string()
  .meta({ description: "What to do now.", examples: ["Store this key now: it cannot be shown again."] });
const keyScopes = z.array(z.enum(scopes)).meta({
  description:
    "`publish` sends events, `consume` reads and acknowledges them, `manage` changes keys and endpoints, and sees " +
    "and repeats deliveries.",
  examples: [["publish", "consume", "manage"]],
});
const keyName = z
  .string()
  .nullable()
  .meta({ description: "What you called it.", examples: ["ci"] });
const expiresAt = timeOrNull("When the key ends; null: it does not.");

export const GeneratedKey = z
  .object({
    organization_id: organizationTold.organization_id,
    organization_name: organizationTold.organization_name,
    api_key: apiKey,
    key_id: keyId,
    tier: organizationTold.tier,
    rate_limit_per_minute: organizationTold.rate_limit_per_minute,
    created_at: time("When it was made."),
    warning,
  })
  .meta({ id: "GeneratedKey", description: "A new organization and its first key." });
export type GeneratedKey = z.output<typeof GeneratedKey>;

/** Said with every key that is shown. */
export const KEY_WARNING = "Store this key now: it cannot be shown again.";

/** How a new organization and its first key are told. */
export function generatedKey(
  organization: { id: string; name: string; tier: Tier; rateLimitPerMinute: number; createdAtMs: number },
  { apiKey, keyId }: { apiKey: string; keyId: string },
): GeneratedKey {
  return {
    organization_id: organization.id,
    organization_name: organization.name,
    api_key: apiKey,
    key_id: keyId,
    tier: organization.tier,
    rate_limit_per_minute: organization.rateLimitPerMinute,
    created_at: rfc3339(organization.createdAtMs),
    warning: KEY_WARNING,
  };
}

const Key = z
  .object({
    key_id: keyId,
    name: keyName,
    scopes: keyScopes,
    created_at: time("When it was made."),
    expires_at: expiresAt,
    last_used_at: timeOrNull("When it was used last, to the minute; null: never."),
  })
  .meta({ id: "Key", description: "A key, without its text." });

export const KeyInfo = z
  .object({
    ...organizationTold,
    webhook_url: z
      .string()
      .nullable()
      .meta({ description: "Where its events are sent; null: nowhere.", examples: [null] }),
    created_at: time("When the organization was made."),
    updated_at: time("When the organization was changed last."),
    keys: z.array(Key),
  })
  .meta({ id: "KeyInfo", description: "The calling key's organization and all of its keys." });

export const NewKey = z
  .strictObject({
    name: text(KEY_NAME_CHARACTERS_MAX, { description: "What you call it.", examples: ["ci"] }).optional(),
    scopes: z
      .array(z.enum(scopes, "It must be publish, consume or manage."), "It must be a list of scopes.")
      .min(1, "It must hold at least one scope.")
      .refine((list) => new Set(list).size === list.length, "It must hold each scope once.")
      .default([...scopes])
      .meta({
        description:
          "What the key may do: `publish` sends events, `consume` reads and acknowledges them, `manage` changes " +
          "keys and endpoints, and sees and repeats deliveries.",
        uniqueItems: true,
        examples: [["publish"]],
      }),
    expires_at: timeInput("When the key shall end, in the future. Without it, it does not end.").optional(),
    environment: z
      .enum(["live", "test"], "It must be live or test.")
      .default("live")
      .meta({
        description: "Only the prefix, for your own use: `zap_live_` or `zap_test_`.",
        examples: ["live"],
      }),
  })
  .meta({ id: "NewKey", description: "A key to make.", examples: [{ name: "ci", scopes: ["publish"] }] });

export const CreatedKey = z
  .object({
    organization_id: organizationTold.organization_id,
    organization_name: organizationTold.organization_name,
    api_key: apiKey,
    key_id: keyId,
    name: keyName,
    scopes: keyScopes,
    created_at: time("When it was made."),
    expires_at: expiresAt,
    warning,
  })
  .meta({ id: "CreatedKey", description: "A new key." });

export const RotateKey = z
  .strictObject({
    overlap_seconds: wholeNumber(0, OVERLAP_SECONDS_MAX, {
      description: "How long the old key lives on beside the new one, at most a week. 0: it dies now.",
      examples: [0],
    }).default(0),
  })
  .meta({
    id: "RotateKey",
    description: "How to exchange the calling key.",
    examples: [{ overlap_seconds: 3600 }],
  });

export const RotatedKey = z
  .object({
    organization_id: organizationTold.organization_id,
    organization_name: organizationTold.organization_name,
    api_key: apiKey,
    key_id: keyId,
    rotated_at: time("When it was exchanged."),
    warning,
  })
  .meta({ id: "RotatedKey", description: "The new key, with the name, scopes and expiry of the old one." });
