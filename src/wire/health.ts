// What a health probe is told.

import { z } from "zod";

export const Health = z
  .object({
    status: z.literal("healthy"),
    version: z.string().meta({ description: "The server's version.", examples: ["0.1.0"] }),
    uptime_seconds: z.int().meta({ description: "Whole seconds since the start.", examples: [42] }),
  })
  .meta({ id: "Health", description: "The process answers." });

export const readinessChecks = [
  "database_writable",
  "disk_space",
  "write_queue",
  "oldest_due_delivery",
] as const;
export type ReadinessCheck = (typeof readinessChecks)[number];

export const Readiness = z
  .object({
    status: z.literal("ready"),
    checks: z
      .object(Object.fromEntries(readinessChecks.map((name) => [name, z.literal("ok")])))
      .meta({ description: "All checks, and that they passed." }),
  })
  .meta({ id: "Readiness", description: "The server can do its work." });
