// What `backup` and `restore` share: how far they are on a terminal, Ctrl-C, and what is told at the end.
import { constants } from "node:os";
import { isatty } from "node:tty";
import { formatBytes } from "../base/bytes.ts";
import { rfc3339 } from "../base/time.ts";
import type { Config } from "../config.ts";
import type { Copied, CopyPhase, CopyTools } from "../store/sqlite/copying.ts";
import { sizeOf } from "../store/sqlite/database_file.ts";
import { startCopyThread } from "../threads.ts";
import { complain, EXIT } from "./output.ts";
import { progressLine } from "./progress.ts";
import { firstStopSignal } from "./signals.ts";
import { startProblem } from "./start_problem.ts";

export interface CopyTask {
  readonly config: Config;
  /** What is read: for how far it is. */
  readonly source: string;
  /** What is made. */
  readonly target: string;
  readonly copy: (tools: CopyTools) => Promise<Copied>;
}

/** What both tell, as one JSON object. */
export interface CopyReport {
  readonly bytes: number;
  readonly schema: number;
  readonly organizations: number;
  readonly events: number;
  readonly newest_event_at: string | null;
  readonly duration_ms: number;
}

const SHOW_MS = 500;

/** Copies, tells, and gives the exit code. `report` is called when all of it is done and prints. */
export async function runCopy(task: CopyTask, report: (facts: CopyReport) => void): Promise<number> {
  const startedMs = performance.now();
  const abort = new AbortController();
  const shown = showProgress(task.source);
  try {
    const tools = { startCopyThread, onPhase: shown.enter, signal: abort.signal };
    const outcome = await Promise.race([firstStopSignal(), task.copy(tools)]);
    shown.end();
    if (typeof outcome === "string") {
      abort.abort();
      complain("stopped; nothing was kept of what was begun.");
      return 128 + constants.signals[outcome];
    }
    if (outcome.kind === "refused") {
      complain(outcome.detail);
      return EXIT.failure;
    }
    const { newestEventMs, ...counts } = outcome.facts;
    report({
      bytes: sizeOf(task.target) ?? 0,
      ...counts,
      newest_event_at: newestEventMs === null ? null : rfc3339(newestEventMs),
      duration_ms: Math.round(performance.now() - startedMs),
    });
    return EXIT.ok;
  } catch (error) {
    shown.end();
    complain(startProblem(error, task.config));
    return EXIT.failure;
  }
}

function showProgress(source: string) {
  let now: CopyPhase | null = null;
  const show = () => {
    if (now === null) return;
    const size = formatBytes(sizeOf(now.partial) ?? 0);
    if (now.phase === "checking") progressLine(`checking ${size}`);
    else progressLine(`copied ${size} of about ${formatBytes(sizeOf(source) ?? 0)}`);
  };
  const timer = isatty(2) ? setInterval(show, SHOW_MS) : undefined;
  return {
    enter: (phase: CopyPhase) => {
      now = phase;
      show();
    },
    end: () => {
      clearInterval(timer);
      progressLine(null);
    },
  };
}
