// How far something is, as one line of a terminal that is written anew each time. Elsewhere nothing is written.
import { isatty } from "node:tty";
import { writeWhole } from "../base/stdout.ts";

/** Shows the text instead of the last one; null takes it away. */
export function progressLine(text: string | null): void {
  if (isatty(2)) writeWhole(2, `\r${text ?? ""}\u001b[K`);
}
