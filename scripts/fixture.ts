// Makes db/fixtures/SCHEMA.db.gz, a database of this version with every kind of row, by a real server; the same with
// sealed secrets; and SCHEMA.json.gz, what its API told of it. `bun scripts/fixture.ts`. Tests open each with the program of
// their day. While the schema is not released, run it after each change of it; once it is, never again.

import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { newestSchema } from "../src/store/sqlite/migrate.ts";
import { callerOf } from "../test/help/fixture_call.ts";
import { type Told, tellAll } from "../test/help/fixture_reads.ts";
import { firstRun, type Made, secondRun } from "../test/help/fixture_rows.ts";
import { type ServerProcess, startProcess } from "./listening.ts";

/** What tests need to know of a fixture besides its rows. */
export type Fixture = {
  readonly madeAt: string;
  /** Of the sealed one. */
  readonly encryptionKey: string;
  readonly made: Made;
  readonly told: Told;
};

/** Nothing is sent, and nothing grows too old: the rows stay as they are. */
export const AT_REST = { DISABLE_WEBHOOK_DELIVERY: "true", RETENTION_DAYS: "36500" };

const root = path.join(import.meta.dir, "..");
const folder = path.join(root, "db/fixtures");
const name = String(newestSchema).padStart(4, "0");

async function main(): Promise<void> {
  const dataDir = mkdtempSync(path.join(tmpdir(), "zapier-triggers-fixture-"));
  const receiver = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: answer });
  const encryptionKey = "5a".repeat(32);
  try {
    const first = await served(dataDir, { RETRY_SCHEDULE: "1ms" }, (url) =>
      firstRun(url, receiver.url.origin),
    );
    const made = await served(dataDir, { RETRY_SCHEDULE: "12h" }, (url) => secondRun(url, first));
    const madeAt = new Date().toISOString();
    const told = await served(dataDir, AT_REST, (url) => tellAll(callerOf(url), made));
    const database = path.join(dataDir, "triggers.db");
    await keep(`${name}.db`, readFileSync(database));
    await served(dataDir, { ...AT_REST, ENCRYPTION_KEY: encryptionKey }, async () => {});
    await keep(`${name}_sealed.db`, readFileSync(database));
    const fixture: Fixture = { madeAt, encryptionKey, made, told };
    await keep(`${name}.json`, Buffer.from(JSON.stringify(fixture)));
  } finally {
    await receiver.stop(true);
    rmSync(dataDir, { recursive: true, force: true });
  }
}

function answer(request: Request): Response {
  const { pathname } = new URL(request.url);
  const status = { "/dead": 500, "/fail": 500, "/gone": 410, "/later": 429 }[pathname] ?? 200;
  return new Response(`the answer of ${pathname}`, { status, headers: { "retry-after": "600" } });
}

async function served<T>(
  dataDir: string,
  env: Record<string, string>,
  work: (url: string) => Promise<T>,
): Promise<T> {
  const base = { DATA_DIR: dataDir, PORT: "0", WEBHOOK_ALLOW_PRIVATE: "true" };
  const command = [process.execPath, path.join(root, "src/main.ts"), "serve"];
  const server: ServerProcess = await startProcess(command, { cwd: dataDir, env: { ...base, ...env } });
  try {
    return await work(server.url);
  } finally {
    server.child.kill("SIGTERM");
    await server.child.exited;
  }
}

async function keep(file: string, content: Buffer): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const bytes = Bun.gzipSync(Uint8Array.from(content), { level: 9 });
  await Bun.write(path.join(folder, `${file}.gz`), bytes);
  console.log(`db/fixtures/${file}.gz: ${Math.round(bytes.length / 1000)} kB`);
}

if (import.meta.main) await main();
