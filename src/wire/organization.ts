// Organizations as an administrator sees and changes them.

import { z } from "zod";
import { id, listEnd, time, wholeNumber } from "./text.ts";
import { tiers } from "./tiers.ts";

export const RATE_LIMIT_MAX = 10_000_000;

/** A tier, as it is given and told. */
export const tier = z.enum(tiers, `It must be one of ${tiers.join(", ")}.`).meta({
  description:
    "Sets the rate limit, in events a minute: free 100, pro 1,000, business 10,000, enterprise 100,000.",
  examples: ["free"],
});

/** Members that several answers tell of an organization. */
export const organizationTold = {
  organization_id: id("The organization's id."),
  organization_name: z.string().meta({ description: "The name it was given.", examples: ["Acme GmbH"] }),
  tier,
  rate_limit_per_minute: z.int().meta({ description: "Events it may send in a minute.", examples: [100] }),
};

export const Organization = z
  .object({
    ...organizationTold,
    disabled: z.boolean().meta({ description: "Whether all of its keys are refused.", examples: [false] }),
    created_at: time("When it was made."),
    updated_at: time("When it was changed last."),
  })
  .meta({ id: "Organization", description: "An organization." });

export const OrganizationPage = z
  .object({ organizations: z.array(Organization), ...listEnd })
  .meta({ id: "OrganizationPage", description: "A page of organizations, the oldest first." });

const LIMIT_META = {
  description: "Stands in for the tier's limit; null goes back to the tier's.",
  examples: [500],
};

export const ChangeOrganization = z
  .strictObject({
    tier: tier.optional(),
    rate_limit_per_minute: wholeNumber(1, RATE_LIMIT_MAX, LIMIT_META).nullable().optional().meta(LIMIT_META),
    disabled: z
      .boolean("It must be true or false.")
      .optional()
      .meta({ description: "True refuses all of its keys from the next request on.", examples: [false] }),
  })
  .meta({
    id: "ChangeOrganization",
    description: "What is to be changed; the rest stays.",
    examples: [{ tier: "pro" }],
  });
