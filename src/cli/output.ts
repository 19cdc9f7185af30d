// What commands say: results on standard output, one sentence on standard error when something is wrong.
// All of it goes out at once (see base/stdout.ts), because the process exits right after.
import { isatty } from "node:tty";
import { writeWhole } from "../base/stdout.ts";

/** Exit codes of every command: 1 is a failure, 2 a mistake in the command line or in a setting. */
export const EXIT = { ok: 0, failure: 1, usage: 2 } as const;

/** Prints a JSON value: indented for a person on a terminal, one line for a program. */
export function printJson(value: unknown): void {
  writeWhole(1, `${JSON.stringify(value, null, isatty(1) ? 2 : 0)}\n`);
}

/** Prints one line, or several, to standard output. */
export function print(text: string): void {
  writeWhole(1, `${text}\n`);
}

/** Prints what is wrong to standard error. */
export function complain(text: string): void {
  writeWhole(2, `zapier-triggers: ${text}\n`);
}
