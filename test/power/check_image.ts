// Whether the server can go on with what a power cut left: the store's engine opens it as a start does, the database is
// whole, and what had been answered is in it.

import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { idOfSeq } from "../../src/base/id.ts";
import { openEngine } from "../../src/store/sqlite/engine.ts";
import { openReader } from "../../src/store/sqlite/pragma.ts";
import type { Image } from "./disk.ts";

export type Found = {
  readonly faults: readonly string[];
  /** Ids of all events, in the order of acceptance. */
  readonly events: readonly string[];
  readonly acked: ReadonlySet<string>;
};

/** Writes an image below `dir`. */
export function writeImage(image: Image, root: string, dir: string): void {
  for (const [name, bytes] of image) {
    const file = path.join(dir, path.relative(root, name));
    mkdirSync(bytes === null ? file : path.dirname(file), { recursive: true });
    if (bytes !== null) writeFileSync(file, bytes);
  }
}

/** Opens the database of a data directory by the engine, and looks at it beside. */
export function openImage(dataDir: string): Found {
  const file = path.join(dataDir, "triggers.db");
  const opened = openEngine(file, { durability: "full", encryptionKeys: [] });
  if (opened.kind === "refused") return { faults: [opened.detail], events: [], acked: new Set() };
  try {
    return lookAt(file);
  } catch (error) {
    return { faults: [String(error)], events: [], acked: new Set() };
  } finally {
    opened.engine.close();
  }
}

function lookAt(file: string): Found {
  const db = openReader(file);
  try {
    const integrity = db.query<{ integrity_check: string }, []>("PRAGMA integrity_check").all();
    const orphans = db.query("PRAGMA foreign_key_check").all();
    const events = db.query<Row, []>("SELECT seq, tail FROM events ORDER BY seq").all();
    const acked = db.query<Row, []>(
      "SELECT e.seq, e.tail FROM acks a CROSS JOIN events e ON e.seq = a.event",
    );
    return {
      faults: [
        ...integrity.map((row) => row.integrity_check).filter((text) => text !== "ok"),
        ...orphans.map((row) => `foreign key: ${JSON.stringify(row)}`),
      ],
      events: events.map(idOf),
      acked: new Set(acked.all().map(idOf)),
    };
  } finally {
    db.close();
  }
}

type Row = { readonly seq: number; readonly tail: string };

function idOf({ seq, tail }: Row): string {
  return idOfSeq(seq, tail);
}
