// The real server as a process of its own: from source, or the executable named by BIN. It listens on a free port,
// over a directory of its own, and is waited for by its own words.

import { type ServerProcess, startProcess } from "../../scripts/listening.ts";
import { PROGRAM } from "./command.ts";
import { tempDir } from "./temp.ts";

export type Answer = {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly body: Json;
};
// biome-ignore lint/suspicious/noExplicitAny: answers are looked into field by field, by assertions
type Json = any;

export type Api = {
  get(path: string): Promise<Answer>;
  post(path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  send(method: string, path: string, init?: RequestInit): Promise<Answer>;
};

export type Organization = { readonly id: string; readonly key: string; readonly api: Api };

export type StartOptions = {
  readonly dataDir?: string;
  readonly env?: Record<string, string>;
  /** A program to start the server with, which must become it. */
  readonly through?: readonly string[];
};

/** A running server. Every one that a test starts, it stops. */
export class TestServer {
  readonly url: string;
  readonly dataDir: string;
  readonly pid: number;
  readonly #server: ServerProcess;

  private constructor(dataDir: string, server: ServerProcess) {
    this.url = server.url;
    this.dataDir = dataDir;
    this.pid = server.child.pid;
    this.#server = server;
  }

  /** Resolves when the server says that it listens; rejects with what it said when it does not come up. */
  static async start({
    dataDir = tempDir(),
    env = {},
    through = [],
  }: StartOptions = {}): Promise<TestServer> {
    const options = { cwd: dataDir, env: { DATA_DIR: dataDir, PORT: "0", ...env } };
    return new TestServer(dataDir, await startProcess([...through, ...PROGRAM, "serve"], options));
  }

  /** Calls with this key, or with none. */
  api(key?: string): Api {
    return apiOf(this.url, key === undefined ? {} : { "x-api-key": key });
  }

  /** A new organization with its first key. */
  async organization({ tier = "enterprise", name = "Acme" } = {}): Promise<Organization> {
    const answer = await this.api().post("/api/keys/generate", { organization_name: name, tier });
    if (answer.status !== 201) throw new Error(`no key: ${answer.status} ${answer.text}`);
    const key: string = answer.body.api_key;
    return { id: answer.body.organization_id, key, api: this.api(key) };
  }

  /** What the server has printed so far. */
  get output(): string {
    return this.#server.output();
  }

  /** Ends the server with this signal and returns its exit code (null when the signal itself killed it). */
  async kill(signal: NodeJS.Signals): Promise<number | null> {
    const { child } = this.#server;
    child.kill(signal);
    await child.exited;
    return child.exitCode;
  }

  /** Stops it in good order. */
  async stop(): Promise<number | null> {
    return this.kill("SIGTERM");
  }

  /** Resolves with the exit code when it ends by itself. */
  get exited(): Promise<number> {
    return this.#server.child.exited;
  }
}

/** Runs a command of the executable to its end. `cwd`: when the data directory is not there (yet). */
export async function runCommand(
  args: string[],
  dataDir: string,
  env: Record<string, string> = {},
  cwd = dataDir,
) {
  const child = Bun.spawn([...PROGRAM, ...args], {
    cwd,
    env: { PATH: process.env.PATH ?? "", DATA_DIR: dataDir, PORT: "0", LOG_FORMAT: "json", ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { code: await child.exited, stdout, stderr };
}

/** `fetch` with JSON both ways. */
export function apiOf(url: string, auth: Record<string, string>): Api {
  const send = async (method: string, where: string, init: RequestInit = {}): Promise<Answer> => {
    const headers = { ...auth, ...(init.headers as Record<string, string> | undefined) };
    const response = await fetch(url + where, { ...init, method, headers });
    const text = await response.text();
    return { status: response.status, headers: response.headers, text, body: parsed(text) };
  };
  return {
    send,
    get: (where) => send("GET", where),
    post: (where, body, headers = {}) =>
      send("POST", where, {
        ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
        headers: { "content-type": "application/json", ...headers },
      }),
  };
}

function parsed(text: string): Json {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
