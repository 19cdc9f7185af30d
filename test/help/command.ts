// A command of the program while it runs: what it has printed so far, waited for by signal; and the same on a terminal
// of its own. From source, or the executable of BIN.

import path from "node:path";

/** How the program is started. */
export const PROGRAM = process.env.BIN
  ? [path.resolve(process.env.BIN)]
  : [process.execPath, path.join(import.meta.dir, "../../src/main.ts")];

/** Text that grows, and can be waited for. */
class Output {
  text = "";
  /** When no more comes. */
  ended: Promise<void> = Promise.resolve();
  #waiters: { isDone: (text: string) => boolean; resolve: () => void }[] = [];

  take(more: string): void {
    this.text += more;
    this.#waiters = this.#waiters.filter(({ isDone, resolve }) => {
      const done = isDone(this.text);
      if (done) resolve();
      return !done;
    });
  }

  async until(isDone: (text: string) => boolean): Promise<string> {
    if (!isDone(this.text)) await new Promise<void>((resolve) => this.#waiters.push({ isDone, resolve }));
    return this.text;
  }

  shows(part: string): Promise<string> {
    return this.until((text) => text.includes(part));
  }

  /** Whole lines, when there are so many. */
  async lines(count: number): Promise<string[]> {
    return (await this.until((text) => text.split("\n").length > count)).split("\n").slice(0, count);
  }
}

export interface StartOptions {
  readonly cwd: string;
  readonly env: Record<string, string>;
}

/** With pipes. `input` is written and ended; without it, standard input stays open for `child.stdin`. */
export function startCommand(
  args: readonly string[],
  { cwd, env }: StartOptions,
  input?: string | Uint8Array,
) {
  const child = Bun.spawn([...PROGRAM, ...args], {
    cwd,
    env: { PATH: process.env.PATH ?? "", ...env },
    stdin: "pipe",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr] = [readOutput(child.stdout), readOutput(child.stderr)];
  if (input !== undefined) {
    child.stdin.write(input);
    child.stdin.end();
  }
  /** When it has ended, and all of its output is here. */
  const ended = async () => {
    await Promise.all([stdout.ended, stderr.ended]);
    return { code: await child.exited, stdout: stdout.text, stderr: stderr.text };
  };
  return { child, stdout, stderr, ended };
}

/** On a terminal of its own: `shown` is everything that it wrote there, `type` writes what a person would. */
export function onTerminal(args: readonly string[], { cwd, env }: StartOptions, columns = 100) {
  const shown = new Output();
  const decoder = new TextDecoder();
  const child = Bun.spawn([...PROGRAM, ...args], {
    cwd,
    env: { PATH: process.env.PATH ?? "", ...env },
    terminal: {
      cols: columns,
      rows: 20,
      data: (_, bytes) => shown.take(decoder.decode(bytes, { stream: true })),
    },
  });
  return { child, shown, type: (text: string) => child.terminal?.write(text) };
}

/** What a pipe gives, read as it comes. */
export function readOutput(from: ReadableStream<Uint8Array>): Output {
  const output = new Output();
  const decoder = new TextDecoder();
  output.ended = (async () => {
    for await (const chunk of from) output.take(decoder.decode(chunk, { stream: true }));
  })();
  return output;
}
