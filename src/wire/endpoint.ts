// Webhook endpoints: their settings, and what is told of them. Surprise: secrets are told once, when they are set or
// rotated, and the values of headers never: they are often secrets too.

import { z } from "zod";
import { id, isStorable, isWithin, listEnd, time, timeOrNull, wholeNumber } from "./text.ts";
import { disabledReasons } from "./tiers.ts";
import { typePatterns } from "./type_pattern.ts";

export const URL_CHARACTERS_MAX = 2_048;
const DESCRIPTION_CHARACTERS_MAX = 1_000;
const HEADERS_MAX = 20;
/** For the documentation: src/webhook/request.ts refuses, and says why. */
const HEADER_NAME = "^[!#$%&'*+\\-.^_`|~0-9A-Za-z]+$";
const HEADER_VALUE = "^([\\x21-\\x7e]([\\t\\x20-\\x7e]*[\\x21-\\x7e])?)?$";
/** 24 to 64 bytes: the base64 of their threes, and what is left with its padding; bits beyond the bytes are zero. */
const SIGNING_SECRET =
  "^whsec_(?:(?:[A-Za-z0-9+/]{4}){8,20}(?:[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/][AQgw]==)?" +
  "|(?:[A-Za-z0-9+/]{4}){21}(?:[A-Za-z0-9+/][AQgw]==)?)$";
const MAX_IN_FLIGHT_MAX = 256;
const RATE_LIMIT_PER_SECOND_MAX = 1_000;
const TIMEOUT_MS_MIN = 100;
/** Ten minutes. */
const TIMEOUT_MS_MAX = 600_000;
/** A week: the old secret has to end some day. */
const OVERLAP_SECONDS_MAX = 604_800;
const OVERLAP_SECONDS_DEFAULT = 86_400;

/** Where events are sent; the route asks the egress guard besides. */
export const webhookUrl = z
  .string("It must be a string.")
  .min(1, "It must be a URL.")
  .max(URL_CHARACTERS_MAX, `It must have at most ${URL_CHARACTERS_MAX} characters.`)
  .meta({
    description:
      "Where events are sent by POST. It must be https and public, unless the operator opened private networks " +
      "with WEBHOOK_ALLOW_PRIVATE.",
    format: "uri",
    examples: ["https://example.com/hook"],
  });

const DESCRIPTION_META = {
  description: "A note of your own. Left out or null: none.",
  maxLength: DESCRIPTION_CHARACTERS_MAX,
  examples: ["Orders for the warehouse"],
};
const EVENT_TYPES_META = {
  description:
    "Which events it gets, by patterns of their type: exact (`order.created`), a beginning (`order.*`), or `*`. " +
    'Left out or null: `["*"]`, all of them. They are looked at when an event is accepted.',
  uniqueItems: true,
  examples: [["order.*", "invoice.paid"]],
};
const HEADERS_META = {
  description:
    "Headers of your own, sent with each attempt, for example an `Authorization`. They are never shown again, only " +
    "their names. At most 20, and 8 KB in all. Those that the service sets itself, `webhook-*`, and those of the " +
    "connection are refused. Left out or null: none.",
};

/** Written by hand because a zod record drops the name `__proto__` without a word. */
const extraHeaders = z
  .unknown()
  .meta({
    type: "object",
    propertyNames: { pattern: HEADER_NAME },
    additionalProperties: { type: "string", pattern: HEADER_VALUE },
    maxProperties: HEADERS_MAX,
    examples: [{ Authorization: "Bearer YOUR_RECEIVERS_TOKEN" }],
  })
  .transform((value, context): Readonly<Record<string, string>> => {
    const refuse = (message: string, path: string[] = []) => {
      context.issues.push({ code: "custom", message, path, input: value });
      return z.NEVER;
    };
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      return refuse("It must be an object of header names and their values.");
    }
    const entries = Object.entries(value);
    if (entries.length > HEADERS_MAX) return refuse(`It must hold at most ${HEADERS_MAX} headers.`);
    for (const [name, text] of entries) {
      if (typeof text !== "string") refuse("It must be a string.", [name]);
    }
    return value as Record<string, string>;
  });

const MAX_IN_FLIGHT_META = {
  description:
    "At most so many requests at once. Left out or null: what the service finds to be good, up to 32.",
  examples: [8],
};
const RATE_LIMIT_META = {
  description: "At most so many requests a second. Left out or null: as many as the endpoint takes.",
  examples: [50],
};
const ORDERED_META = {
  description:
    "True: strictly in the order in which events were accepted, one at a time, the next only after the last was " +
    "delivered or became a dead letter. Left out or null: false.",
  examples: [false],
};
const TIMEOUT_META = {
  description:
    "Milliseconds that an attempt may take, from connecting to the end of the answer. Left out or null: the " +
    "server's own, 15 seconds unless the operator set another.",
  examples: [15_000],
};

/** Left out or null: the default when an endpoint is made; in a change, left out stays and null is the default again. */
const settings = {
  event_types: typePatterns.nullable().optional().meta(EVENT_TYPES_META),
  description: z
    .string("It must be a string.")
    .refine(
      (text) => text === "" || isWithin(text, DESCRIPTION_CHARACTERS_MAX),
      `It must have at most ${DESCRIPTION_CHARACTERS_MAX} characters.`,
    )
    .refine(isStorable, "It must not hold U+0000 or half of a surrogate pair.")
    .nullable()
    .optional()
    .meta(DESCRIPTION_META),
  headers: extraHeaders.nullable().optional().meta(HEADERS_META),
  max_in_flight: wholeNumber(1, MAX_IN_FLIGHT_MAX, MAX_IN_FLIGHT_META)
    .nullable()
    .optional()
    .meta(MAX_IN_FLIGHT_META),
  rate_limit_per_second: wholeNumber(1, RATE_LIMIT_PER_SECOND_MAX, RATE_LIMIT_META)
    .nullable()
    .optional()
    .meta(RATE_LIMIT_META),
  ordered: z.boolean("It must be true or false.").nullable().optional().meta(ORDERED_META),
  timeout_ms: wholeNumber(TIMEOUT_MS_MIN, TIMEOUT_MS_MAX, TIMEOUT_META)
    .nullable()
    .optional()
    .meta(TIMEOUT_META),
};

export const NewEndpoint = z
  .strictObject({
    url: webhookUrl,
    ...settings,
    signing_secret: z
      .string("It must be a string.")
      .nullable()
      .optional()
      .meta({
        description:
          "A secret of your own to sign with: `whsec_` and the base64 of 24 to 64 random bytes. Left out or null: a " +
          "new one is made.",
        pattern: SIGNING_SECRET,
        examples: ["whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="],
      }),
  })
  .meta({
    id: "NewEndpoint",
    description: "An endpoint to make.",
    examples: [{ url: "https://example.com/hook", event_types: ["order.*"] }],
  });

export const ChangeEndpoint = z.strictObject({ url: webhookUrl.optional(), ...settings }).meta({
  id: "ChangeEndpoint",
  description:
    "What is to be changed; the rest stays. Null puts a setting back to its default. `headers` replaces all of " +
    "them. The secret is changed by `rotate-secret`.",
  minProperties: 1,
  examples: [{ event_types: ["order.*", "invoice.*"], max_in_flight: null }],
});

const signingSecret = z.string().meta({
  description:
    "Verifies the `webhook-signature` header of what is sent (Standard Webhooks). It is shown here and never again.",
  examples: ["whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="],
});

const numberOrNull = (description: string) =>
  z
    .int()
    .nullable()
    .meta({ description, examples: [null] });

const told = {
  id: id("The endpoint's id."),
  name: z
    .string()
    .nullable()
    .meta({
      description: "`default` for the one that `/api/webhook/config` sets; null for all others.",
      examples: [null],
    }),
  url: z.string().meta({ description: "Where events are sent.", examples: ["https://example.com/hook"] }),
  description: z
    .string()
    .nullable()
    .meta({ description: "Your note, or null.", examples: [null] }),
  event_types: z
    .array(z.string())
    .meta({ description: "The patterns of the events it gets.", examples: [["order.*"]] }),
  header_names: z
    .array(z.string())
    .meta({ description: "The names of your own headers. Their values are not told.", examples: [[]] }),
  max_in_flight: numberOrNull("At most so many requests at once; null: what the service finds to be good."),
  rate_limit_per_second: numberOrNull("At most so many requests a second; null: no limit."),
  ordered: z
    .boolean()
    .meta({ description: "Whether events are sent one by one, in order.", examples: [false] }),
  timeout_ms: numberOrNull("Milliseconds that an attempt may take; null: the server's own."),
  status: z.enum(["active", "disabled"]).meta({
    description: "`disabled`: nothing is sent to it; its events are held and go out when it is enabled.",
    examples: ["active"],
  }),
  disabled_at: timeOrNull("Since when it is disabled; null when it is not."),
  disabled_reason: z
    .enum(disabledReasons)
    .nullable()
    .meta({
      description:
        "`manual`: by a call. `gone`: it answered 410. `failing`: it took nothing for five days. Null when it is not " +
        "disabled.",
      examples: [null],
    }),
  consecutive_failures: z.int().meta({
    description: "Failed attempts in a row. After 10 one probe at a time is sent, until one is taken.",
    examples: [0],
  }),
  failing_since: timeOrNull("The first of these failures; null when the last attempt was taken."),
  paused_until: timeOrNull(
    "Nothing is sent to it before: because it asked to wait (Retry-After), until the next probe after many " +
      "failures, or until the retry of an ordered endpoint. Null when nothing holds it up.",
  ),
  created_at: time("When it was made."),
  updated_at: time("When its settings changed last."),
};

export const Endpoint = z
  .object(told)
  .meta({ id: "Endpoint", description: "A webhook endpoint, without its secrets." });
export type Endpoint = z.output<typeof Endpoint>;

export const CreatedEndpoint = z
  .object({ ...told, signing_secret: signingSecret })
  .meta({ id: "CreatedEndpoint", description: "A new endpoint and its secret." });

export const EndpointPage = z.object({ endpoints: z.array(Endpoint), ...listEnd }).meta({
  id: "EndpointPage",
  description: "A page of endpoints, the oldest first. It ends early before it passes 8 MiB.",
});

export const RotateSecret = z
  .strictObject({
    overlap_seconds: wholeNumber(0, OVERLAP_SECONDS_MAX, {
      description:
        "For how long the old secret signs beside the new one, at most a week. Meanwhile each request has both " +
        "signatures, and the receiver can be changed without a gap. 0: the new one alone signs from now on.",
      examples: [OVERLAP_SECONDS_DEFAULT],
    }).default(OVERLAP_SECONDS_DEFAULT),
  })
  .meta({
    id: "RotateSecret",
    description: "How to exchange the secret.",
    examples: [{ overlap_seconds: 3600 }],
  });

export const RotatedSecret = z
  .object({
    endpoint_id: id("The endpoint's id."),
    signing_secret: signingSecret,
    old_secret_expires_at: time("Until then the old secret signs beside the new one."),
  })
  .meta({ id: "RotatedSecret", description: "The new secret." });

export const EndpointTest = z
  .object({
    delivered: z.boolean().meta({ description: "Whether it was answered with 2xx.", examples: [true] }),
    response_status: z
      .int()
      .nullable()
      .meta({ description: "HTTP status of the answer; null when none came.", examples: [200] }),
    duration_ms: z
      .int()
      .meta({ description: "From its beginning to the end of the answer.", examples: [87] }),
    error: z
      .string()
      .nullable()
      .meta({ description: "What went wrong; null when nothing did.", examples: [null] }),
  })
  .meta({ id: "EndpointTest", description: "What became of the test." });
