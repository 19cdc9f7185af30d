// Starts what is measured: the built executable over a fresh directory, or the bare server.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { startProcess } from "../scripts/listening.ts";

const root = path.join(import.meta.dir, "..");

export type Target = {
  readonly url: string;
  readonly pid: number;
  readonly keysFile?: string;
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

/**
 * The product with everything on: auth, limit, validation, dedup, one delivery per event. `deliver`: also sends
 * them, to a receiver in this process; else they stay due.
 */
export async function startProduct(options: {
  organizations: number;
  durability: "full" | "normal";
  receiverUrl?: string;
}): Promise<Target> {
  const dir = mkdtempSync(path.join(root, "bench/data-"));
  const env: Record<string, string> = {
    ...{ PORT: "0", DATA_DIR: dir, LOG_LEVEL: "info", DURABILITY: options.durability },
    ...(options.receiverUrl
      ? { WEBHOOK_ALLOW_PRIVATE: "true" }
      : { WEBHOOK_ALLOW_PRIVATE: "true", DISABLE_WEBHOOK_DELIVERY: "true" }),
  };
  const target = await start(["dist/zapier-triggers", "serve"], env);
  const keys: string[] = [];
  for (let i = 0; i < options.organizations; i++) {
    const key = await newKey(target.url, `Organization ${i}`);
    keys.push(key);
    const url = options.receiverUrl ?? "http://127.0.0.1:9/";
    await call(target.url, "/api/webhook/config", key, { webhook_url: url });
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
  const answer = await call(url, "/api/keys/generate", null, { organization_name: name, tier: "enterprise" });
  return String(answer.api_key);
}

async function call(
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
  const { url, child } = await startProcess([path.join(root, program), ...rest], { cwd: root, env });
  return {
    url,
    pid: child.pid,
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
