// CloudEvents 1.0 (https://cloudevents.io): another form in which an event may come in. Attributes that have no place
// here are taken and not stored. Surprise: null stands for an attribute that is not there, as the JSON format says.

import { z } from "zod";
import { isStorable } from "./text.ts";
import { TYPE } from "./type_pattern.ts";

export const CLOUD_EVENT_MEDIA_TYPE = "application/cloudevents+json";
export const CLOUD_EVENTS_BATCH_MEDIA_TYPE = "application/cloudevents-batch+json";

const REQUIRED = "It must be there, as a string that is not empty.";
const SOURCE = /^[^\s\p{Cc}]+$/u;
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

const attribute = (description: string, example: string) =>
  z
    .string("It must be a string.")
    .nullish()
    .meta({ description, examples: [example] });

const type = z
  .string(REQUIRED)
  .superRefine((value, context) => {
    if (!TYPE.test(value)) context.addIssue({ code: "custom", message: typeDetail(value) });
  })
  .meta({
    description:
      "Becomes the event's `type`: 1 to 255 characters of `A-Z a-z 0-9 . _ : / -`, others are refused.",
    pattern: TYPE.source,
    examples: ["com.example.order.created"],
  });

function typeDetail(value: string): string {
  const rule = "1 to 255 characters of A-Z a-z 0-9 . _ : / - are allowed.";
  const strange = [...new Set(value.match(/[^A-Za-z0-9._:/-]/gu))].slice(0, 10);
  if (strange.length > 0)
    return `It has ${strange.map((one) => JSON.stringify(one)).join(" ")}: only ${rule}`;
  return value === "" ? REQUIRED : `It is too long: ${rule}`;
}

export const CloudEvent = z
  .looseObject({
    specversion: z.literal("1.0", 'It must be there, and be "1.0".').meta({
      description: "The version of CloudEvents.",
      examples: ["1.0"],
    }),
    id: z
      .string(REQUIRED)
      .min(1, REQUIRED)
      .refine(isStorable, "It must not hold U+0000 or half of a surrogate pair.")
      .meta({
        description: "Together with `source` it is the event's `dedup_id`.",
        examples: ["A234-1234-1234"],
      }),
    source: z
      .string(REQUIRED)
      .min(1, REQUIRED)
      .refine(
        (value) => SOURCE.test(value) && isStorable(value),
        "It must be a URI reference, without spaces.",
      )
      .meta({
        description:
          "The `dedup_id` is `source`, a space and `id`; when that has more than 255 characters, its SHA-256 in hex.",
        pattern: "^[^\\s\\x00-\\x1f\\x7f-\\x9f]+$",
        examples: ["https://example.com/orders"],
      }),
    type,
    datacontenttype: attribute("The media type of `data`. Not stored.", "application/json"),
    dataschema: attribute("Not stored.", "https://example.com/order.json"),
    subject: attribute("Not stored.", "1042"),
    time: attribute("Not stored: `created_at` is when the event was accepted.", "2026-11-21T08:30:00Z"),
    data: z
      .unknown()
      .optional()
      .meta({
        description: "Becomes the `payload`, exactly as you wrote it. Without it the payload is null.",
        examples: [{ order_id: 1042, total: 99.5 }],
      }),
    data_base64: z
      .string("It must be a string.")
      .regex(BASE64, "It must be Base64.")
      .nullish()
      .meta({
        description: "Binary data instead of `data`: the payload is this string, still in Base64.",
        examples: ["PHgvPg=="],
      }),
  })
  .refine(
    ({ data, data_base64 }) => data === undefined || data_base64 === undefined || data_base64 === null,
    "It must not have both data and data_base64.",
  )
  .meta({
    id: "CloudEvent",
    description: "A CloudEvent 1.0 in the JSON format. Extension attributes are accepted and not stored.",
    examples: [
      {
        specversion: "1.0",
        id: "A234-1234-1234",
        source: "https://example.com/orders",
        type: "com.example.order.created",
        data: { order_id: 1042, total: 99.5 },
      },
    ],
  });

export type CloudEvent = z.output<typeof CloudEvent>;

/** For the documentation. */
export const CloudEvents = z.array(CloudEvent).max(1_000).meta({
  id: "CloudEvents",
  description: "Up to 1,000 CloudEvents, in the JSON batch format. The whole body may have 8 MiB.",
});
