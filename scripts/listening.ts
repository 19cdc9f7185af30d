// Starts a server process and waits for its own word of where it listens. For the demo, the benchmarks and the
// tests: each runs the real process.

export type ServerProcess = {
  readonly url: string;
  readonly child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  /** What it has printed so far, both streams. */
  output(): string;
};

/** What a server prints is kept up to here; it is read on beyond, since a full pipe would stop the server. */
const OUTPUT_CHARACTERS_MAX = 1_000_000;

/** Resolves when it listens; rejects with what it said when it ends before. It must log in JSON. */
export async function startProcess(
  command: string[],
  { cwd, env }: { cwd: string; env: Record<string, string> },
): Promise<ServerProcess> {
  const child = Bun.spawn(command, {
    cwd,
    env: { PATH: process.env.PATH ?? "", LOG_FORMAT: "json", ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const found = Promise.withResolvers<string>();
  let output = "";
  const take = (text: string) => {
    if (output.length < OUTPUT_CHARACTERS_MAX) output += text;
    const url = /"url":"(http[^"]+)"/.exec(output)?.[1];
    if (url) found.resolve(url);
  };
  const streams = Promise.all([readAll(child.stdout, take), readAll(child.stderr, take)]);
  void streams.then(async () => {
    await child.exited;
    found.reject(new Error(`the server ended (${child.exitCode}) before it listened: ${output}`));
  });
  return { url: await found.promise, child, output: () => output };
}

async function readAll(stream: ReadableStream<Uint8Array>, take: (text: string) => void): Promise<void> {
  const decoder = new TextDecoder();
  for await (const chunk of stream) take(decoder.decode(chunk, { stream: true }));
}
