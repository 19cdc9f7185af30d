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

export const deliveryStates = ["waiting", "delivered", "dead_letter", "cancelled"] as const;
export type DeliveryState = (typeof deliveryStates)[number];
