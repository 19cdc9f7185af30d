// System calls of a running process, by strace: counts that no other load on the machine moves.

import { existsSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { whenStopped } from "./interrupted.ts";
import { threads } from "./processes.ts";

/** A call that ended while it was watched. `result` is what it returned, -1 for an error. */
export type SystemCall = { readonly tid: number; readonly name: string; readonly result: number };

export type Watch = {
  /** Detaches; what ended since, by all threads, in order. */
  end(): Promise<readonly SystemCall[]>;
};

/** Throws with how to get strace when it is not there. */
export function requireStrace(): void {
  if (!Bun.which("strace")) throw new Error("this needs strace (Debian: apt-get install strace)");
}

/**
 * Watches these calls (null: all) of a process and its threads; resolves when strace is attached. The trace is written
 * into `dir` meanwhile.
 */
export async function watch(pid: number, calls: readonly string[] | null, dir: string): Promise<Watch> {
  requireStrace();
  const file = path.join(dir, `trace-${crypto.randomUUID()}.txt`);
  const only = calls === null ? [] : ["-e", `trace=${calls.join(",")}`];
  const child = Bun.spawn(["strace", "-f", "-s", "0", ...only, "-o", file, "-p", String(pid)], {
    ...{ stdin: "ignore", stdout: "ignore", stderr: "pipe" },
  });
  const release = whenStopped(() => child.kill("SIGINT"));
  const said = await firstWords(child.stderr);
  if (!said.includes("attached")) throw new Error(`strace does not attach: ${said}`);
  return {
    async end() {
      child.kill("SIGINT");
      await child.exited;
      release();
      const trace = existsSync(file) ? readFileSync(file, "utf8") : "";
      rmSync(file, { force: true });
      return callsOf(trace);
    },
  };
}

/** All system calls in so many seconds. The time is the measurement: how often a process does something by itself. */
export async function watchFor(seconds: number, pid: number, dir: string): Promise<readonly SystemCall[]> {
  const watching = await watch(pid, null, dir);
  await Bun.sleep(seconds * 1_000);
  return watching.end();
}

/** How often an event loop was woken: a poll that came back, with something to do or at its time. */
export function wakeUps(calls: readonly SystemCall[]): number {
  return calls.filter(({ name, result }) => name.startsWith("epoll_") && !name.endsWith("ctl") && result >= 0)
    .length;
}

/** How many of all calls each thread made, and its name; those that made none too. */
export function byThread(
  pid: number,
  calls: readonly SystemCall[],
): readonly {
  readonly tid: number;
  readonly name: string;
  readonly calls: number;
  readonly wakeUps: number;
}[] {
  return threads(pid).map(({ tid, name }) => {
    const own = calls.filter((one) => one.tid === tid);
    return { tid, name, calls: own.length, wakeUps: wakeUps(own) };
  });
}

/**
 * A command that becomes `strace`d on its own: each fsync and fdatasync of it takes so much longer. `-D` leaves the process
 * id to the command; `--seccomp-bpf` stops at these calls alone, so the others cost what they always do.
 */
export function withSlowFsync(delayMs: number): readonly string[] {
  requireStrace();
  const calls = "fsync,fdatasync";
  const inject = `inject=${calls}:delay_exit=${delayMs * 1_000}`;
  return ["strace", "-D", "-f", "--seccomp-bpf", "-o", "/dev/null", "-e", `trace=${calls}`, "-e", inject];
}

async function firstWords(stream: ReadableStream<Uint8Array>): Promise<string> {
  const { value } = await stream.getReader().read();
  return value ? new TextDecoder().decode(value) : "";
}

/**
 * One line is `TID name(...) = RESULT`, or, where threads ran into each other, `TID <... name resumed>...) = RESULT` for
 * the end. What strace finds sleeping comes back as restart_syscall and is counted only when it ends by itself.
 */
function callsOf(trace: string): SystemCall[] {
  return trace.split("\n").flatMap((line) => {
    const found = /^(\d+) +(?:<\.\.\. )?(\w+)(?: resumed>|\().*= (-?\d+)(?: |$)/.exec(line);
    if (found === null) return [];
    const [, tid = "", name = "", result = ""] = found;
    return [{ tid: Number(tid), name, result: Number(result) }];
  });
}
