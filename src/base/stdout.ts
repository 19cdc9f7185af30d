// Whole texts onto standard output and error, at once. The runtime's own streams buffer when the reader is a
// pipe, and what they hold is lost when the process exits; here nothing is pending after the call returns.
import { writeSync } from "node:fs";

/** How long a reader that does not read may hold up the caller, in milliseconds, before the rest is dropped. */
const STALL_MAX_MS = 1_000;
const waiting = new Int32Array(new SharedArrayBuffer(4));

/**
 * Writes the whole text as UTF-8 to file descriptor 1 or 2. Never throws: when the reader is gone (EPIPE), the
 * disk is full, or a full pipe is not read for a second, the rest of the text is dropped and false comes back.
 */
export function writeWhole(fd: 1 | 2, text: string): boolean {
  const bytes = Buffer.from(text, "utf8");
  let written = 0;
  let stalledMs = 0;
  while (written < bytes.length) {
    try {
      written += writeSync(fd, bytes, written);
      stalledMs = 0;
    } catch (error) {
      if (!isFullPipe(error) || stalledMs >= STALL_MAX_MS) return false;
      // Somebody set the pipe to non-blocking; sleeping here is what a blocking write would have done.
      Atomics.wait(waiting, 0, 0, 5);
      stalledMs += 5;
    }
  }
  return true;
}

function isFullPipe(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "EAGAIN";
}
