// Faults of a disk, made from outside: strace makes system calls of a running process fail or hang, and a small tmpfs is
// full, or read-only, when a test says so. Both need rights that CI has; where they are missing, a test is skipped.

import { readFileSync } from "node:fs";
import path from "node:path";
import { tempDir } from "./temp.ts";

const strace = Bun.which("strace");
if (!strace && process.env.CI)
  throw new Error("CI must have strace: faults of the disk may not be skipped there");

/** Whether system calls can be made to fail here. */
export const canInject = strace !== null;

export type Faults = {
  /** The calls that were seen so far, as strace writes them. */
  lines(): readonly string[];
  /** From here on all goes well. */
  stop(): Promise<void>;
};

/**
 * Makes calls of the process fail: `inject` as strace takes it, such as "fsync:error=EIO:when=2". `only`: of calls on
 * this file. Resolves when it is in force.
 */
export async function inject(pid: number, what: string, only?: string): Promise<Faults> {
  const file = path.join(tempDir(), "trace.txt");
  const [calls = ""] = what.split(":");
  const filter = only === undefined ? [] : ["-P", only];
  const args = ["-f", "-y", "-s", "0", "-e", `trace=${calls},pwrite64`, ...filter, "-e", `inject=${what}`];
  const tracer = Bun.spawn([strace ?? "strace", ...args, "-o", file, "-p", String(pid)], {
    ...{ stdin: "ignore", stdout: "ignore", stderr: "pipe" },
  });
  await tracer.stderr.getReader().read(); // it says "attached" once it watches
  return {
    lines: () => readFileSync(file, "utf8").split("\n"),
    stop: async () => {
      tracer.kill("SIGINT");
      await tracer.exited;
    },
  };
}

/** The same for a command from its start. */
export function injected(what: string): readonly string[] {
  return [strace ?? "strace", "-f", "-qq", "-o", "/dev/null", "-e", `inject=${what}`];
}

/** A file system of its own; null where none can be mounted. `stop` unmounts it. */
export function smallDisk(
  mebibytes: number,
): { readonly dir: string; remount(how: "ro" | "rw"): void; stop(): void } | null {
  const dir = tempDir();
  const mount = (...options: string[]) => Bun.spawnSync(["mount", ...options, dir]);
  const mounted = mount("-t", "tmpfs", "-o", `size=${mebibytes}m,mode=0700`, "tmpfs");
  if (mounted.exitCode !== 0) {
    if (process.env.CI) throw new Error(`CI must be able to mount a tmpfs: ${mounted.stderr}`);
    console.warn("skipped: this needs the right to mount a tmpfs");
    return null;
  }
  return {
    dir,
    remount(how) {
      const { exitCode, stderr } = mount("-o", `remount,${how}`);
      if (exitCode !== 0) throw new Error(`remount: ${stderr}`);
    },
    stop: () => void Bun.spawnSync(["umount", "-l", dir]),
  };
}
