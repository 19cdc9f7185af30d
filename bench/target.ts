// Starts what is measured: the built executable over a fresh directory, or the bare server.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { startProcess } from "../scripts/listening.ts";

const root = path.join(import.meta.dir, "..");

export type Target = {
  readonly url: string;
  readonly pid: number;
  readonly keysFile?: string;
  /** A new organization's key. */
  newKey(name: string): Promise<string>;
  stop(): Promise<void>;
};

/** Builds both executables, so that what is measured is what is in the tree. */
export async function buildTargets(): Promise<void> {
  await run([process.execPath, "scripts/build.ts"]);
  const result = await Bun.build({
    entrypoints: [path.join(root, "bench/bare.ts")],
    compile: { outfile: path.join(root, "dist/bare"), autoloadDotenv: false, autoloadBunfig: false },
    bytecode: true,
    format: "esm",
    define: { "process.env.NODE_ENV": '"production"' },
  });
  if (!result.success) throw new Error(result.logs.join("\n"));
}

export async function startBare(): Promise<Target> {
  return await start(["dist/bare"], { PORT: "0" });
}

/** A script of ours in a process of its own, which prints its url as JSON. */
export async function startScript(script: string): Promise<Target> {
  return await start([process.execPath, script], {});
}

/**
 * The product with everything on: auth, limit, validation, dedup, one delivery per event. `receiverUrl`: also sends
 * them, there; else they stay due. `disabled`: they are held for a disabled endpoint.
 */
export async function startProduct(options: {
  organizations: number;
  durability: "full" | "normal";
  receiverUrl?: string;
  disabled?: boolean;
}): Promise<Target> {
  const dir = mkdtempSync(path.join(root, "bench/data-"));
  const env: Record<string, string> = {
    ...{ PORT: "0", DATA_DIR: dir, LOG_LEVEL: "info", DURABILITY: options.durability },
    WEBHOOK_ALLOW_PRIVATE: "true",
    ...(options.receiverUrl || options.disabled ? {} : { DISABLE_WEBHOOK_DELIVERY: "true" }),
  };
  const target = await start(["dist/zapier-triggers", "serve"], env);
  const keys: string[] = [];
  for (let i = 0; i < options.organizations; i++) {
    const key = await target.newKey(`Organization ${i}`);
    keys.push(key);
    const url = options.receiverUrl ?? "http://127.0.0.1:9/";
    const set = await callApi(target.url, "/api/webhook/config", key, { webhook_url: url });
    if (options.disabled) await callApi(target.url, `/api/endpoints/${set.endpoint_id}/disable`, key, {});
  }
  const keysFile = path.join(dir, "keys.txt");
  writeFileSync(keysFile, `${keys.join("\n")}\n`);
  return {
    ...target,
    keysFile,
    stop: async () => {
      await target.stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

async function newKey(url: string, name: string): Promise<string> {
  const answer = await callApi(url, "/api/keys/generate", null, {
    organization_name: name,
    tier: "enterprise",
  });
  return String(answer.api_key);
}

/** POSTs JSON; throws with what was answered unless it is a success. */
export async function callApi(
  url: string,
  where: string,
  key: string | null,
  body: object,
): Promise<Record<string, unknown>> {
  const response = await fetch(url + where, {
    method: "POST",
    headers: { "content-type": "application/json", ...(key ? { "x-api-key": key } : {}) },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${where}: ${response.status} ${await response.text()}`);
  return (await response.json()) as Record<string, unknown>;
}

async function start(args: string[], env: Record<string, string>): Promise<Target> {
  const [program = "", ...rest] = args;
  const { url, child } = await startProcess([path.resolve(root, program), ...rest], { cwd: root, env });
  return {
    url,
    pid: child.pid,
    newKey: (name) => newKey(url, name),
    stop: async () => {
      child.kill("SIGTERM");
      await child.exited;
    },
  };
}

async function run(command: string[]): Promise<void> {
  const child = Bun.spawn(command, { cwd: root, stdout: "inherit", stderr: "inherit" });
  if ((await child.exited) !== 0) throw new Error(`${command.join(" ")} failed`);
}
