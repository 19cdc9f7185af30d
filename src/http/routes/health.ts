// /health: whether the process answers (liveness: restart it when not), and whether it can do its work (readiness:
// send it no traffic when not, and page somebody). Surprise: liveness never looks at the disk, because a restart does
// not empty a full one.

import { Elysia } from "elysia";
import type { StoreStats } from "../../store/store.ts";
import { Health, Readiness, type ReadinessCheck, readinessChecks } from "../../wire/health.ts";
import { json, type Kit } from "../call.ts";
import type { Deps } from "../deps.ts";
import { operation } from "../operation.ts";
import { HttpProblem } from "../problem.ts";
import { hook } from "../route.ts";

const MEBIBYTE = 1024 * 1024;
/** Enough for the WAL to be written back and for an operator to react. */
const FREE_DISK_BYTES_MIN = 64 * MEBIBYTE;
/** At the bound itself events are refused; nine tenths of it is the time to look. */
const QUEUE_SHARE_MAX = 0.9;
/**
 * The loop is woken within milliseconds: this long means that it stands still. What waits for a slow or failing
 * endpoint does not count: one customer's receiver must not take the server out of service.
 */
const OLDEST_DUE_SECONDS_MAX = 300;

const answers = { 200: { description: "The process answers.", schema: Health } };
const health = operation({
  id: "health",
  tag: "Operation",
  summary: "Whether the process answers",
  access: "open",
  answers,
});
const live = operation({ ...health, id: "healthLive", summary: "The same, under the name that probes use" });
const ready = operation({
  id: "healthReady",
  tag: "Operation",
  summary: "Whether the server can do its work",
  description:
    "Checks that the database can be written, that there is disk space, that the write queue is not nearly full, and " +
    "that no delivery that could be sent has been due for 5 minutes.",
  access: "open",
  answers: { 200: { description: "All checks passed.", schema: Readiness } },
  problems: ["not_ready"],
});

export function healthRoutes(kit: Kit, { store, deliveryLagSeconds, version, startedAtMs }: Deps) {
  const alive = ({ nowMs }: { nowMs: number }) => {
    const uptime_seconds = Math.max(0, Math.floor((nowMs - startedAtMs) / 1_000));
    return json(200, { status: "healthy", version, uptime_seconds });
  };
  const checks = Object.fromEntries(readinessChecks.map((name) => [name, "ok"]));

  return new Elysia()
    .get("/health", kit.handle(health, alive), hook(health))
    .get("/health/live", kit.handle(live, alive), hook(live))
    .get(
      "/health/ready",
      kit.handle(ready, async () => {
        // Nobody sends events to a server that is not ready: somebody has to find out that it is again.
        if (store.stats().writeFailure !== null) await store.tryWrite();
        const reasons = failedChecks(store.stats(), await deliveryLagSeconds());
        if (reasons.length > 0) throw new HttpProblem("not_ready", { extra: { reasons } });
        return json(200, { status: "ready", checks });
      }),
      hook(ready),
    );
}

/** In words of ours, by SQLite's result code. The log has its own. */
function causeOf(failure: string): string {
  const causes = [
    [/^SQLITE_FULL/, "there is no space left on the disk"],
    [/^SQLITE_READONLY/, "the file or its file system is read-only"],
    [/^SQLITE_(IOERR|CANTOPEN)/, "the disk or its file system reports an error"],
    [/^SQLITE_(BUSY|LOCKED)/, "another process holds the database"],
  ] as const;
  return causes.find(([code]) => code.test(failure))?.[1] ?? "the log tells why";
}

type Reason = { readonly check: ReadinessCheck; readonly detail: string };

/** What keeps the server from its work, in words for an operator. */
export function failedChecks(stats: StoreStats, deliveryLagSeconds: number): Reason[] {
  const reasons: Reason[] = [];
  const fail = (check: ReadinessCheck, detail: string) => reasons.push({ check, detail });
  if (stats.writeFailure !== null)
    fail("database_writable", `The last write to the database failed: ${causeOf(stats.writeFailure)}.`);
  if (stats.freeDiskBytes < FREE_DISK_BYTES_MIN) {
    const freeMiB = Math.floor(stats.freeDiskBytes / MEBIBYTE);
    fail("disk_space", `${freeMiB} MiB are free, ${FREE_DISK_BYTES_MIN / MEBIBYTE} are needed.`);
  }
  if (stats.queuedEvents > stats.maxQueuedEvents * QUEUE_SHARE_MAX) {
    fail(
      "write_queue",
      `${stats.queuedEvents} of at most ${stats.maxQueuedEvents} events wait to be written.`,
    );
  }
  if (deliveryLagSeconds > OLDEST_DUE_SECONDS_MAX) {
    const seconds = Math.floor(deliveryLagSeconds);
    fail("oldest_due_delivery", `A delivery that could be sent has been due for ${seconds} seconds.`);
  }
  return reasons;
}
