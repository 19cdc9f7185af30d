// The form of every refusal, for the documentation. The codes themselves are in http/problem.ts.

import { z } from "zod";
import { scopes } from "./tiers.ts";

/** RFC 9457. Members after `code` are there only where they say something. */
export const Problem = z
  .object({
    type: z.string().meta({
      description: "Names the kind of problem.",
      format: "uri",
      examples: ["urn:zapier-triggers:problem:validation_failed"],
    }),
    title: z.string().meta({ description: "The kind in words.", examples: ["Validation failed"] }),
    status: z.int().meta({ description: "The HTTP status.", examples: [422] }),
    detail: z
      .string()
      .meta({ description: "What is wrong, and what to do.", examples: ["`errors` lists it."] }),
    code: z
      .string()
      .meta({ description: "The kind as a stable word, for programs.", examples: ["validation_failed"] }),
    errors: z
      .array(z.object({ pointer: z.string(), detail: z.string() }))
      .optional()
      .meta({
        description:
          "With `validation_failed`: each thing that is wrong, with a JSON pointer (RFC 6901) into the body, or the " +
          "name of a query parameter behind a slash.",
        examples: [[{ pointer: "/type", detail: "It must be a string." }]],
      }),
    event_id: z
      .string()
      .optional()
      .meta({ description: "With `duplicate_event`: the id of the event that was accepted." }),
    dedup_id: z
      .string()
      .optional()
      .meta({ description: "With `duplicate_event`: the dedup_id that both have." }),
    limit: z.int().optional().meta({ description: "With `rate_limited`: events a minute." }),
    fits_now: z.int().optional().meta({ description: "With `rate_limited`: how many events would fit now." }),
    lost: z
      .array(z.string())
      .optional()
      .meta({ description: "With `lease_expired`: the events that another consumer has by now." }),
    acknowledged: z
      .int()
      .optional()
      .meta({ description: "With `lease_expired`: how many were acknowledged." }),
    released: z.int().optional().meta({ description: "With `lease_expired`: how many were released." }),
    extended: z.int().optional().meta({ description: "With `lease_expired`: how many were extended." }),
    leased_until: z
      .string()
      .optional()
      .meta({ description: "With `lease_expired`, of an extended lease: when it runs out." }),
    not_found: z
      .array(z.string())
      .optional()
      .meta({ description: "With `lease_expired`: the ids that are not of this lease, or were deleted." }),
    limit_bytes: z.int().optional().meta({ description: "With `payload_too_large` and `body_too_large`." }),
    required_scope: z.enum(scopes).optional().meta({ description: "With `insufficient_scope`." }),
    reasons: z
      .array(z.object({ check: z.string(), detail: z.string() }))
      .optional()
      .meta({ description: "With `not_ready`: the checks that failed." }),
  })
  .meta({ id: "Problem", description: "Why a request was refused (RFC 9457)." });
