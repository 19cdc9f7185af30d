// Finds the ends of HTTP/1.1 answers in what a connection brings, one answer after the other. Keeps no body: a page of
// 8 MiB costs a look at each chunk. Reads what the product sends: a Content-Length, chunks, or no body (204).

const HEAD_END = Buffer.from("\r\n\r\n");
const LINE_END = Buffer.from("\r\n");

/** What comes next. `size` is the line before a chunk, `end` the empty line (or trailers) behind the last one. */
type Part = "head" | "body" | "size" | "chunk" | "end";

export class AnswerReader {
  readonly #onAnswer: (status: number, bodyBytes: number) => void;
  #part: Part = "head";
  #pending: Buffer = Buffer.alloc(0);
  #left = 0;
  #status = 0;
  #bodyBytes = 0;

  /** @param onAnswer told of each answer when its last byte is there */
  constructor(onAnswer: (status: number, bodyBytes: number) => void) {
    this.#onAnswer = onAnswer;
  }

  read(chunk: Uint8Array): void {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    let rest = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    for (;;) {
      const taken = this.#take(rest);
      if (taken === null) break;
      rest = rest.subarray(taken);
    }
    // A copy: the socket uses its buffer again.
    this.#pending = Buffer.from(rest);
  }

  /** How many bytes were understood; null when more must come first. */
  #take(bytes: Buffer): number | null {
    if (this.#part === "head") return this.#takeHead(bytes);
    if (this.#part === "size") return this.#takeSize(bytes);
    if (this.#part === "end") return this.#takeEnd(bytes);
    if (bytes.length === 0) return null;
    const taken = Math.min(bytes.length, this.#left);
    this.#left -= taken;
    if (this.#left === 0 && this.#part === "chunk") this.#part = "size";
    else if (this.#left === 0) this.#finish();
    return taken;
  }

  #takeHead(bytes: Buffer): number | null {
    const end = bytes.indexOf(HEAD_END);
    if (end < 0) return null;
    const head = bytes.toString("latin1", 0, end);
    this.#status = Number(head.slice(9, 12));
    this.#bodyBytes = 0;
    const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
    if (/\r\ntransfer-encoding: *chunked/i.test(head)) this.#part = "size";
    else this.#expectBody(Number(length ?? 0));
    return end + HEAD_END.length;
  }

  #expectBody(bytes: number): void {
    this.#left = bytes;
    this.#bodyBytes = bytes;
    if (bytes === 0) this.#finish();
    else this.#part = "body";
  }

  #takeSize(bytes: Buffer): number | null {
    const end = bytes.indexOf(LINE_END);
    if (end < 0) return null;
    const size = Number.parseInt(bytes.toString("latin1", 0, end), 16);
    this.#bodyBytes += size;
    this.#left = size + LINE_END.length; // the line end behind the chunk
    this.#part = size === 0 ? "end" : "chunk";
    return end + LINE_END.length;
  }

  #takeEnd(bytes: Buffer): number | null {
    const end = bytes.indexOf(LINE_END);
    if (end < 0) return null;
    if (end === 0) this.#finish();
    return end + LINE_END.length;
  }

  #finish(): void {
    this.#part = "head";
    this.#onAnswer(this.#status, this.#bodyBytes);
  }
}
