// A copy in the making, as seen from the main thread: it lies beside its final name until it is checked and complete,
// so under that name there is never half of one. Surprise: the partial file carries the process's number, and a later
// run removes those of processes that are gone, since a kill -9 or a power cut leaves one.

import { closeSync, existsSync, openSync, readdirSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import { isAlive } from "../../base/process_alive.ts";
import { listen } from "../../base/thread.ts";
import type { CopyFacts } from "./copy.ts";
import type { CopyAnswer, CopyWork } from "./copy.worker.ts";
import { sync } from "./database_file.ts";
import { failureText } from "./failure_text.ts";
import { keepWritingBack } from "./write_back.ts";

export type Copied =
  | { readonly kind: "copied"; readonly facts: CopyFacts }
  /** `detail` is a whole sentence. */
  | { readonly kind: "refused"; readonly detail: string };

/** How far a copy is: the file that grows, then the reading of all of it. */
export type CopyPhase = { readonly phase: "copying" | "checking"; readonly partial: string };

export type CopyTools = {
  readonly startCopyThread: () => Worker;
  readonly onPhase: (phase: CopyPhase) => void;
  /** Aborted: what was begun is removed, and `Copied` never comes. */
  readonly signal: AbortSignal;
};

export type CopyTask = Omit<CopyWork, "target"> & {
  readonly target: string;
  /** Whether what has the name, or gets it meanwhile, is replaced. */
  readonly replaces: boolean;
};

/** Makes `target` anew, whole or not at all. */
export async function copyTo(task: CopyTask, tools: CopyTools): Promise<Copied> {
  const partial = `${task.target}.partial-${process.pid}`;
  const remove = () => removeWithCompanions(partial);
  tools.signal.addEventListener("abort", remove);
  try {
    removeAbandoned(task.target);
    return await copyBy(partial, task, tools);
  } catch (error) {
    return { kind: "refused", detail: failureText(task.target, error) };
  } finally {
    remove();
    tools.signal.removeEventListener("abort", remove);
  }
}

async function copyBy(
  partial: string,
  { work, source, target, replaces }: CopyTask,
  { startCopyThread, onPhase }: CopyTools,
): Promise<Copied> {
  onPhase({ phase: "copying", partial });
  closeSync(openSync(partial, "wx", 0o600));
  const endWritingBack = keepWritingBack(partial);
  const answer = await finalAnswer(startCopyThread(), { work, source, target: partial }, () =>
    onPhase({ phase: "checking", partial }),
  );
  await endWritingBack();
  if (answer.kind === "failed") return { kind: "refused", detail: answer.detail };
  if (!replaces && existsSync(target))
    return { kind: "refused", detail: `${target} has come up meanwhile, and was left as it is.` };
  renameSync(partial, target);
  sync(path.dirname(target));
  return { kind: "copied", facts: answer.facts };
}

function finalAnswer(
  thread: Worker,
  work: CopyWork,
  onChecking: () => void,
): Promise<Exclude<CopyAnswer, { kind: "checking" }>> {
  return new Promise((resolve, reject) => {
    thread.addEventListener("error", (event) => reject(new Error(event.message)));
    listen(thread, (text: string) => {
      const answer = JSON.parse(text) as CopyAnswer;
      if (answer.kind === "checking") onChecking();
      else resolve(answer);
    });
    thread.postMessage(JSON.stringify(work));
  });
}

function removeWithCompanions(partial: string): void {
  for (const suffix of ["", "-journal", "-wal", "-shm"]) rmSync(partial + suffix, { force: true });
}

/** In a container this process may have the number of the one that was killed. */
const isGone = (pid: number) => pid === process.pid || !isAlive(pid);

function removeAbandoned(target: string): void {
  const start = `${path.basename(target)}.partial-`;
  for (const name of readdirSync(path.dirname(target))) {
    const pid = /^\d+/.exec(name.startsWith(start) ? name.slice(start.length) : "")?.[0];
    if (pid !== undefined && isGone(Number(pid)))
      rmSync(path.join(path.dirname(target), name), { force: true });
  }
}
