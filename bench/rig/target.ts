// Starts what is measured: the built executable over a directory of its own, or the bare server.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { startProcess } from "../../scripts/listening.ts";
import { callApi, newOrganization } from "./api.ts";
import { whenStopped } from "./interrupted.ts";

const root = path.join(import.meta.dir, "../..");
export const EXECUTABLE = path.join(root, "dist/zapier-triggers");

export type Target = {
  readonly url: string;
  readonly pid: number;
  /** API keys, one a line, for wrk. */
  readonly keysFile?: string;
  /** From the start of the process until it said that it listens. */
  readonly listeningMs: number;
  stop(): Promise<void>;
};

/** `keys`: one of each of the organizations that send; each has one webhook for all types. */
export type Product = Target & {
  readonly dir: string;
  readonly keys: readonly string[];
  readonly keysFile: string;
};

/** A data directory, and the keys of its organizations. Stopping the server that uses it removes it, unless `keep`. */
export type DataDir = { readonly dir: string; readonly keys: readonly string[]; readonly keep?: boolean };

let built: Promise<void> | null = null;

/** Builds both executables, once a process, so that what is measured is what is in the tree. */
export function buildTargets(): Promise<void> {
  built ??= build();
  return built;
}

async function build(): Promise<void> {
  await run([process.execPath, "scripts/build.ts"], root);
  const result = await Bun.build({
    entrypoints: [path.join(import.meta.dir, "bare.ts")],
    compile: { outfile: path.join(root, "dist/bare"), autoloadDotenv: false, autoloadBunfig: false },
    bytecode: true,
    format: "esm",
    define: { "process.env.NODE_ENV": '"production"' },
  });
  if (!result.success) throw new Error(result.logs.join("\n"));
}

export async function startBare(): Promise<Target> {
  return await start([path.join(root, "dist/bare")], { PORT: "0" });
}

/** A script of ours in a process of its own, which prints its url as JSON. */
export async function startScript(script: string): Promise<Target> {
  return await start([process.execPath, path.join(import.meta.dir, script)], {});
}

/** An empty directory beside the results, on the disk whose fdatasync the report tells. */
export function newDataDir(): string {
  const dir = mkdtempSync(path.join(import.meta.dir, "../data-"));
  whenStopped(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export type ProductOptions = {
  /** What the server finds at its start; without it an empty directory. */
  readonly data?: DataDir;
  /** Made anew, each with one webhook; their keys stand behind those of `data`. */
  readonly organizations?: number;
  /** Delivers, and these organizations' webhooks go there; without it nothing is sent, and deliveries stay due. */
  readonly receiverUrl?: string;
  /** Delivers, but the webhooks are disabled: deliveries are held. */
  readonly disabled?: boolean;
  readonly executable?: string;
  /** Settings besides the usual ones. */
  readonly env?: Readonly<Record<string, string>>;
  /** A program to start the server with, which must become it: it is by its process id that it is measured. */
  readonly through?: readonly string[];
};

/** The product with everything on: auth, limit, validation, dedup, one delivery per event, DURABILITY=full. */
export async function startProduct(options: ProductOptions): Promise<Product> {
  const { data, organizations = 0, through = [], executable = EXECUTABLE } = options;
  const dir = data?.dir ?? newDataDir();
  const delivers = options.receiverUrl !== undefined || options.disabled === true;
  const env = {
    ...{ PORT: "0", DATA_DIR: dir, LOG_LEVEL: "info", DURABILITY: "full", WEBHOOK_ALLOW_PRIVATE: "true" },
    ...(delivers ? {} : { DISABLE_WEBHOOK_DELIVERY: "true" }),
    ...options.env,
  };
  const target = await start([...through, executable, "serve"], env);
  const keys = [...(data?.keys ?? [])];
  for (let n = 0; n < organizations; n++) keys.push(await organizationWithWebhook(target.url, n, options));
  const keysFile = path.join(dir, "keys.txt");
  writeFileSync(keysFile, `${keys.join("\n")}\n`);
  const stop = async () => {
    await target.stop();
    if (data?.keep !== true) rmSync(dir, { recursive: true, force: true });
  };
  return { ...target, dir, keys, keysFile, stop };
}

async function organizationWithWebhook(url: string, n: number, options: ProductOptions): Promise<string> {
  const { receiverUrl = "http://127.0.0.1:9/", disabled = false } = options;
  const { key } = await newOrganization(url, `Organization ${n}`);
  const set = await callApi(url, "/api/webhook/config", key, { webhook_url: receiverUrl });
  if (disabled) await callApi(url, `/api/endpoints/${set.endpoint_id}/disable`, key, {});
  return key;
}

async function start(command: string[], env: Record<string, string>): Promise<Target> {
  const startedMs = performance.now();
  const { url, child } = await startProcess(command, { cwd: root, env });
  const listeningMs = performance.now() - startedMs;
  const release = whenStopped(() => child.kill("SIGKILL"));
  const stop = async () => {
    child.kill("SIGTERM");
    await child.exited;
    release();
  };
  return { url, pid: child.pid, listeningMs, stop };
}

/** Runs a program to its end; throws when it fails. */
export async function run(command: readonly string[], cwd: string): Promise<void> {
  const child = Bun.spawn([...command], { cwd, stdout: "ignore", stderr: "inherit" });
  const release = whenStopped(() => child.kill("SIGKILL"));
  const code = await child.exited;
  release();
  if (code !== 0) throw new Error(`${command.join(" ")} failed with ${code}`);
}
