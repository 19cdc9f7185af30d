// Ids are UUIDv7 (RFC 9562, section 6.2 method 1: the 12 bits behind the timestamp are a counter). Surprise: the
// first 60 bits of an id are also the row's integer key, its `seq`, so an id is found without an index on ids.
// Later ids are always greater, also when the clock goes back: then they run ahead of it.

/** 2024-01-01: keeps a seq below 2^53, the largest exact JavaScript integer, until the year 2093. */
const EPOCH_MS = 1_704_067_200_000;
/** Keys of one millisecond: the 12 bits of the counter. */
export const SEQS_PER_MS = 4096;
/** Random tails are drawn 1 024 at a time: one system call per id would cost more than the rest of it. */
const POOL_IDS = 1024;
export const ID_PATTERN = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** An id and the integer key that its first 60 bits carry. */
export type Id = { readonly seq: number; readonly id: string };

/** True for a lower-case UUIDv7. */
export function isId(text: string): boolean {
  return ID_PATTERN.test(text);
}

/** The integer key inside a UUIDv7, or null when the text is none or lies before 2024. */
export function seqOfId(id: string): number | null {
  if (!ID_PATTERN.test(id)) return null;
  const ms = Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
  const seq = (ms - EPOCH_MS) * SEQS_PER_MS + Number.parseInt(id.slice(15, 18), 16);
  return seq >= 0 && Number.isSafeInteger(seq) ? seq : null;
}

/** When the row of this key was accepted, in milliseconds since 1970. */
export function msOfSeq(seq: number): number {
  return Math.floor(seq / SEQS_PER_MS) + EPOCH_MS;
}

/** The first key of a millisecond: rows at or after `ms` have keys at or above it. May be negative before 2024. */
export function firstSeqOfMs(ms: number): number {
  return (ms - EPOCH_MS) * SEQS_PER_MS;
}

/** The UUIDv7 with this key and these 16 hexadecimal characters at its end (the first of them 8, 9, a or b). */
export function idOfSeq(seq: number, tailHex: string): string {
  return msPrefix(msOfSeq(seq)) + rest(seq, tailHex);
}

/** The 16 hexadecimal characters at the end of an id, which its key does not tell. */
export function tailOfId(id: string): string {
  return id.slice(19, 23) + id.slice(24);
}

function msPrefix(ms: number): string {
  const hex = ms.toString(16).padStart(12, "0");
  return `${hex.slice(0, 8)}-${hex.slice(8)}-7`;
}

function rest(seq: number, tailHex: string): string {
  const counter = (seq % SEQS_PER_MS).toString(16).padStart(3, "0");
  return `${counter}-${tailHex.slice(0, 4)}-${tailHex.slice(4)}`;
}

/** Forces the RFC 9562 variant bits onto 16 hexadecimal characters. */
export function withVariant(tailHex: string): string {
  return "89ab"[Number.parseInt(tailHex[0] ?? "0", 16) & 3] + tailHex.slice(1);
}

/** Hands out ids in strictly rising order. One per process and kind of row. */
export class IdSource {
  #lastSeq: number;
  #tails = "";
  #tailAt = 0;
  /** The part of an id that all of one millisecond share: formatting it anew took half of the time of an id. */
  #prefixMs = -1;
  #prefix = "";

  /** @param lastSeq the greatest key already stored, or -1: the next id is above it */
  constructor(lastSeq: number) {
    this.#lastSeq = lastSeq;
  }

  /** The next id; its time is `nowMs`, or the last id's when the clock stands still or went back. */
  next(nowMs: number): Id {
    const seq = Math.max(firstSeqOfMs(nowMs), this.#lastSeq + 1);
    this.#lastSeq = seq;
    return { seq, id: this.#format(seq, this.#tail()) };
  }

  #format(seq: number, tailHex: string): string {
    const ms = msOfSeq(seq);
    if (ms !== this.#prefixMs) {
      this.#prefixMs = ms;
      this.#prefix = msPrefix(ms);
    }
    return this.#prefix + rest(seq, tailHex);
  }

  #tail(): string {
    if (this.#tailAt === this.#tails.length) {
      this.#tails = Buffer.from(crypto.getRandomValues(new Uint8Array(POOL_IDS * 8))).toString("hex");
      this.#tailAt = 0;
    }
    const tail = this.#tails.slice(this.#tailAt, this.#tailAt + 16);
    this.#tailAt += 16;
    return withVariant(tail);
  }
}
