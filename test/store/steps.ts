// What can happen to a store, at random. `pick` chooses among what is there.

import fc from "fast-check";
import { deliveryStatuses } from "../../src/wire/tiers.ts";

export const TYPES = ["order.created", "order.paid", "user.created", "ping"] as const;

const patterns = fc.constantFrom(["*"], ["order.*"], ["order.paid", "ping"], ["user.*", "order.created"]);
const pick = fc.nat();
const few = fc.integer({ min: 1, max: 5 });

const kinds = {
  ingest: fc.record({ org: pick, dedup: fc.option(fc.nat(12)), type: fc.nat(3), passedMs: fc.nat(2) }),
  settle: fc.record({
    pick,
    outcome: fc.constantFrom("delivered" as const, "retry" as const, "dead_letter" as const, "gone" as const),
    pauseMs: fc.option(fc.integer({ min: 1, max: 1_000_000 })),
    dueMs: fc.integer({ min: 1, max: 100 }),
    /** How many more failures in a row: with ten of them the breaker is open. */
    failed: fc.constantFrom(1, 1, 4, 12),
    hopeless: fc.boolean(),
    /** Computed before somebody enabled the endpoint. */
    stale: fc.constantFrom(false, false, false, true),
  }),
  ack: fc.record({ pick }),
  deleteEvent: fc.record({ pick }),
  retry: fc.record({ pick }),
  createEndpoint: fc.record({ org: pick, patterns, ordered: fc.boolean() }),
  updateEndpoint: fc.record({
    pick,
    patterns: fc.option(patterns),
    ordered: fc.option(fc.boolean()),
    newUrl: fc.boolean(),
  }),
  deleteEndpoint: fc.record({ pick }),
  disable: fc.record({ pick }),
  enable: fc.record({ pick }),
  replay: fc.record({
    pick,
    statuses: fc.subarray([...deliveryStatuses], { minLength: 1 }),
    onlyDead: fc.boolean(),
    missing: fc.boolean(),
    types: fc.option(patterns),
    from: fc.option(pick),
    until: fc.option(pick),
  }),
  job: fc.record({ pick, max: few }),
  jobs: fc.record({ max: few }),
  maintain: fc.record({}),
  restart: fc.record({ crash: fc.boolean() }),
  prune: fc.record({ pick, max: few }),
  erase: fc.record({ pick }),
};

type Kinds = { [Kind in keyof typeof kinds]: (typeof kinds)[Kind] extends fc.Arbitrary<infer T> ? T : never };
export type StepOf<Kind extends keyof Kinds> = Kinds[Kind];
export type Step = {
  [Kind in keyof Kinds]: { readonly kind: Kind; readonly with: Kinds[Kind] };
}[keyof Kinds];

const weights: Record<keyof Kinds, number> = {
  ...{ ingest: 24, settle: 20, ack: 4, deleteEvent: 3, retry: 5, createEndpoint: 3, updateEndpoint: 3 },
  ...{ deleteEndpoint: 2, disable: 1, enable: 3, replay: 4, job: 8, jobs: 3, maintain: 8, restart: 2 },
  ...{ prune: 1, erase: 1 },
};

export const anyStep = stepOf(Object.keys(kinds) as (keyof Kinds)[]);

/** Any step of these kinds. */
export function stepOf(among: readonly (keyof Kinds)[]): fc.Arbitrary<Step> {
  return fc.oneof(
    ...among.map((kind) => ({
      weight: weights[kind],
      arbitrary: (kinds[kind] as fc.Arbitrary<unknown>).map((value) => ({ kind, with: value }) as Step),
    })),
  );
}
