// Another time of day for a process: libfaketime.

import { existsSync, readdirSync } from "node:fs";
import path from "node:path";

/** Null where it is not installed; CI must have it. */
export const faketimeLibrary = findLibrary();
if (!faketimeLibrary && process.env.CI)
  throw new Error("CI must have libfaketime: these may not be skipped there");

function findLibrary(): string | null {
  const roots = existsSync("/usr/lib")
    ? readdirSync("/usr/lib").map((name) => path.join("/usr/lib", name, "faketime"))
    : [];
  return roots.map((root) => path.join(root, "libfaketimeMT.so.1")).find((file) => existsSync(file)) ?? null;
}

/** Environment of a process whose wall clock is off by this; as on a real machine, the monotonic one is not. */
export function movedClock(offsetMs: number): Record<string, string> {
  return {
    LD_PRELOAD: faketimeLibrary ?? "",
    FAKETIME: `${offsetMs < 0 ? "-" : "+"}${Math.round(Math.abs(offsetMs) / 1000)}s`,
    FAKETIME_DONT_FAKE_MONOTONIC: "1",
    DONT_FAKE_MONOTONIC: "1",
  };
}
