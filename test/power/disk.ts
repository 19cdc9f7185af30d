// A disk that keeps only what was synced: of each file what an fsync has made durable, and the writes since; of each
// directory its entries likewise. After a power cut the unsynced writes may be there, or not, or in part (by sectors
// of 512 bytes), in any order. Strict: a new file's own fsync does not make its name durable, the directory's does.

import path from "node:path";
import type { Random } from "../crash/random.ts";
import type { Call } from "./calls.ts";

type Change = { readonly offset: number; readonly data: Buffer } | { readonly size: number };

/** What becomes of unsynced writes. `torn`: a part of them in order, the last one in part. */
export const fates = ["lost", "kept", "torn", "shuffled"] as const;
export type Fate = (typeof fates)[number];

/** Contents by path; directories are null. */
export type Image = ReadonlyMap<string, Buffer | null>;

const SECTOR_BYTES = 512;
/** SQLite's shared memory: mapped, never synced, and made anew from the WAL. */
const isForgotten = (file: string) => file.endsWith("-shm");

/** An inode: its name may change or be taken away while it stays. */
class File {
  durable: Buffer = Buffer.alloc(0);
  pending: Change[] = [];
  readonly isDirectory: boolean;

  constructor(isDirectory: boolean) {
    this.isDirectory = isDirectory;
  }

  sync(): void {
    this.durable = applied(this.durable, this.pending);
    this.pending = [];
  }

  /** As programs see it. */
  get seen(): Buffer {
    return applied(this.durable, this.pending);
  }

  get seenSize(): number {
    return this.pending.reduce(
      (size, one) => ("size" in one ? one.size : Math.max(size, one.offset + one.data.length)),
      this.durable.length,
    );
  }

  after(fate: Fate, random: Random): Buffer {
    if (fate === "lost") return this.durable;
    if (fate === "kept") return this.seen;
    if (fate === "torn") {
      const whole = this.pending.slice(0, random.int(0, this.pending.length));
      const next = this.pending.slice(whole.length, whole.length + 1);
      return applied(this.durable, [...whole, ...next.flatMap((one) => sectorsOf(one, 0.5, random))]);
    }
    const share = random.pick([0.1, 0.5, 0.9]);
    return applied(
      this.durable,
      this.pending.flatMap((one) => sectorsOf(one, share, random)),
    );
  }
}

export class Disk {
  /** What programs see, and what is durable: names of inodes. */
  readonly #seen = new Map<string, File>();
  readonly #durable = new Map<string, File>();
  /** Where the next write without an offset goes. */
  readonly #positions = new Map<string, number>();

  apply(call: Call): void {
    if (call.kind === "answer" || isForgotten(call.path)) return;
    switch (call.kind) {
      case "open":
        this.#open(call);
        break;
      case "mkdir":
        this.#seen.set(call.path, new File(true));
        break;
      case "write":
        this.#write(call);
        break;
      case "truncate":
        this.#file(call.path)?.pending.push({ size: call.size });
        break;
      case "unlink":
        this.#seen.delete(call.path);
        break;
      case "rename":
        this.#rename(call.path, call.to);
        break;
      case "sync":
        this.#sync(call.path);
    }
  }

  /** Whether writes to this file are not synced yet. */
  isUnsynced(file: string): boolean {
    return (this.#seen.get(file)?.pending.length ?? 0) > 0;
  }

  /** Whether its name, and those of the directories above it, survive a power cut. */
  isNamed(file: string): boolean {
    const parent = path.dirname(file);
    return this.#durable.has(file) && (!this.#isKnown(parent) || this.isNamed(parent));
  }

  /** What programs see in this file; null when it is not there. */
  contents(file: string): Buffer | null {
    return this.#seen.get(file)?.seen ?? null;
  }

  get files(): readonly string[] {
    return [...this.#seen].filter(([, { isDirectory }]) => !isDirectory).map(([name]) => name);
  }

  /** The disk after the power came back. */
  image(fate: Fate, random: Random): Image {
    const image = new Map<string, Buffer | null>();
    const contents = new Map<File, Buffer>();
    for (const name of [...new Set([...this.#durable.keys(), ...this.#seen.keys()])].sort()) {
      const isNew = fate === "kept" || (fate !== "lost" && random.chance(0.5));
      const file = (isNew ? this.#seen : this.#durable).get(name);
      const parent = path.dirname(name);
      // A directory that is not there has nothing in it.
      const isReached = !this.#isKnown(parent) || image.has(parent);
      if (file === undefined || !isReached) continue;
      if (!contents.has(file)) contents.set(file, file.after(fate, random));
      image.set(name, file.isDirectory ? null : (contents.get(file) ?? null));
    }
    return image;
  }

  #isKnown(directory: string): boolean {
    return this.#seen.has(directory) || this.#durable.has(directory);
  }

  #file(name: string): File | undefined {
    return this.#seen.get(name);
  }

  #open({ path: name, creates, truncates }: Extract<Call, { kind: "open" }>): void {
    if (creates && !this.#seen.has(name)) this.#seen.set(name, new File(false));
    if (truncates) this.#file(name)?.pending.push({ size: 0 });
    this.#positions.set(name, 0);
  }

  #write({ path: name, offset, data }: Extract<Call, { kind: "write" }>): void {
    const at = offset ?? this.#positions.get(name) ?? 0;
    this.#file(name)?.pending.push({ offset: at, data });
    if (offset === null) this.#positions.set(name, at + data.length);
  }

  #rename(from: string, to: string): void {
    const file = this.#seen.get(from);
    if (file === undefined) return;
    this.#seen.delete(from);
    this.#seen.set(to, file);
  }

  #sync(name: string): void {
    this.#file(name)?.sync();
    // Of a directory: the names in it.
    for (const one of [...this.#seen.keys(), ...this.#durable.keys()]) {
      if (path.dirname(one) !== name) continue;
      const file = this.#seen.get(one);
      if (file) this.#durable.set(one, file);
      else this.#durable.delete(one);
    }
  }
}

function applied(before: Buffer, changes: readonly Change[]): Buffer {
  if (changes.length === 0) return before;
  const end = (one: Change) => ("size" in one ? one.size : one.offset + one.data.length);
  const room = Buffer.alloc(Math.max(before.length, ...changes.map(end)));
  before.copy(room);
  let size = before.length;
  for (const one of changes) {
    if ("size" in one) {
      room.fill(0, Math.min(one.size, size), size);
      size = one.size;
    } else {
      one.data.copy(room, one.offset);
      size = Math.max(size, end(one));
    }
  }
  return room.subarray(0, size);
}

/** Some of a change's sectors; a change of the size is one. */
function sectorsOf(change: Change, share: number, random: Random): Change[] {
  if ("size" in change) return random.chance(share) ? [change] : [];
  const parts: Change[] = [];
  const { offset, data } = change;
  for (let at = 0; at < data.length; ) {
    const end = Math.min(data.length, at + SECTOR_BYTES - ((offset + at) % SECTOR_BYTES));
    if (random.chance(share)) parts.push({ offset: offset + at, data: data.subarray(at, end) });
    at = end;
  }
  return parts;
}
