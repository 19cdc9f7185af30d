// Tiers and scopes: the closed lists of words that cross the network.

/** Events per minute that each tier may ingest. */
export const tierEventsPerMinute = {
  free: 100,
  pro: 1_000,
  business: 10_000,
  enterprise: 100_000,
} as const;

export type Tier = keyof typeof tierEventsPerMinute;
export const tiers = Object.keys(tierEventsPerMinute) as readonly Tier[];

export const scopes = ["publish", "consume", "manage"] as const;
export type Scope = (typeof scopes)[number];

export const eventStatuses = ["pending", "failed", "dead_letter", "delivered"] as const;
export type EventStatus = (typeof eventStatuses)[number];

/** `pending` and `failed` are both waiting: without, or with, an attempt that failed. */
export const deliveryStatuses = ["pending", "failed", "delivered", "dead_letter", "cancelled"] as const;
export type DeliveryStatus = (typeof deliveryStatuses)[number];

/** Why an endpoint is disabled: by its owner, by its answer 410, or after five days without a success. */
export const disabledReasons = ["manual", "gone", "failing"] as const;
export type DisabledReason = (typeof disabledReasons)[number];
