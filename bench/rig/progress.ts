// What is going on, on one line of a terminal that is written over. Elsewhere (a file, CI) nothing: the report is enough.

let shown = false;

/** Shows this line in place of the last one. */
export function progress(text: string): void {
  if (!process.stderr.isTTY) return;
  process.stderr.write(`\r\x1b[K${text}`);
  shown = true;
}

/** Takes the line away, before something is printed for good. */
export function endProgress(): void {
  if (shown) process.stderr.write("\r\x1b[K");
  shown = false;
}
