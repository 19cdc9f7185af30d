// The databases of released schemas that db/fixtures/ keeps (scripts/fixture.ts makes them).

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Fixture } from "../../scripts/fixture.ts";

const folder = path.join(import.meta.dir, "../../db/fixtures");

/** One for each schema: `0001`. */
export const fixtures: readonly string[] = readdirSync(folder)
  .filter((name) => name.endsWith(".json.gz"))
  .map((name) => name.replace(".json.gz", ""))
  .sort();

/** `0001`, or `0001_sealed`. */
export function copyFixture(name: string, file: string): void {
  writeFileSync(file, unpack(`${name}.db.gz`), { mode: 0o600 });
}

export function readFixture(name: string): Fixture {
  return JSON.parse(Buffer.from(unpack(`${name}.json.gz`)).toString("utf8")) as Fixture;
}

function unpack(name: string): Uint8Array {
  return Bun.gunzipSync(Uint8Array.from(readFileSync(path.join(folder, name))));
}
