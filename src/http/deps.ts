// What the HTTP side is given by the composition root. Nothing in this folder makes these itself.

import type { Log } from "../base/log.ts";
import type { Metrics } from "../base/metrics.ts";
import type { Config } from "../config.ts";
import type { Store } from "../store/store.ts";
import type { Egress } from "../webhook/guard.ts";
import type { Authenticator } from "./auth.ts";
import type { HashGate } from "./key_hash.ts";
import type { LargeAnswers } from "./large_answers.ts";
import type { createAddressLimiter, Limiter } from "./limit.ts";
import type { Streams } from "./streams.ts";
import type { Waiting } from "./waiting.ts";

/** `busy`: too many tests are under way. */
export type TestResult =
  | {
      readonly kind: "sent";
      readonly delivered: boolean;
      readonly responseStatus: number | null;
      readonly durationMs: number;
      readonly error: string | null;
    }
  | { readonly kind: "delivery_disabled" }
  | { readonly kind: "busy" };

export type Deps = {
  readonly config: Pick<
    Config,
    "host" | "adminToken" | "metricsToken" | "corsOrigins" | "disableWebhookDelivery"
  >;
  readonly store: Store;
  readonly authenticator: Authenticator;
  /** The one that the authenticator uses too. */
  readonly hashGate: HashGate;
  /** Events, by organization. */
  readonly eventLimiter: Limiter<number>;
  /** Key generation, by client address. */
  readonly keyLimiter: ReturnType<typeof createAddressLimiter>;
  /** Where webhooks may go. */
  readonly egress: Egress;
  /** Calls that wait for events. */
  readonly waiting: Waiting;
  /** Answers that are made piece by piece. */
  readonly largeAnswers: LargeAnswers;
  /** Streams of events that are open. */
  readonly streams: Streams;
  readonly metrics: Metrics;
  /** The other threads' metrics, each as `registry.getMetricsAsJSON()` gives it. */
  readonly threadMetrics: () => Promise<readonly unknown[]>;
  /** Sends a `webhook.test` now, whatever the endpoint's state, and waits for what becomes of it. */
  readonly testEndpoint: (endpoint: number) => Promise<TestResult>;
  /** For how long the oldest delivery that could be sent has been due; 0 when none is. */
  readonly deliveryLagSeconds: () => Promise<number>;
  readonly log: Log;
  readonly version: string;
  /** Milliseconds since 1970. */
  readonly startedAtMs: number;
};
