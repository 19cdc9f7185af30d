// Server-sent events out of the chunks they arrive in, after the HTML standard, section 9.2.6. Surprise: a message
// counts only when its empty line is there. What a broken connection cut off is dropped, and comes again after
// Last-Event-ID; and a message of nothing but an id is no event, yet moves that id on.

export interface Message {
  /** Empty when the server gave none. */
  readonly id: string;
  readonly name: string;
  readonly data: string;
}

/** The server's largest event is 256 KiB of payload, which escapes can make six times as long. */
const MESSAGE_CHARACTERS_MAX = 4 * 1_024 * 1_024;

export class SseParser {
  #rest = "";
  #data: string[] = [];
  #size = 0;
  #name = "";
  #id: string | null = null;
  #lastId: string;
  #retryMs: number | null = null;

  constructor(lastId = "") {
    this.#lastId = lastId;
  }

  /** Of the last message that was complete; what to go on after. */
  get lastId(): string {
    return this.#lastId;
  }

  /** How long to wait before connecting again, when the server told. */
  get retryMs(): number | null {
    return this.#retryMs;
  }

  /** A new connection: what the last one cut off is dropped. */
  restart(): void {
    this.#rest = "";
    this.#forget();
  }

  /** The messages that are complete with this chunk. Throws a RangeError when one is beyond all measure. */
  push(chunk: string): Message[] {
    const messages: Message[] = [];
    const text = this.#rest + chunk;
    // A carriage return at the end may be half of a line end.
    const lineEnd = /\r\n|\n|\r(?!$)/g;
    let from = 0;
    for (let end = lineEnd.exec(text); end !== null; end = lineEnd.exec(text)) {
      const message = this.#line(text.slice(from, end.index));
      if (message !== null) messages.push(message);
      from = lineEnd.lastIndex;
    }
    this.#rest = text.slice(from);
    if (this.#rest.length + this.#size > MESSAGE_CHARACTERS_MAX)
      throw new RangeError("a message is too long");
    return messages;
  }

  #line(line: string): Message | null {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") {
      this.#data.push(value);
      this.#size += value.length;
    }
    if (field === "event") this.#name = value;
    if (field === "id" && !value.includes("\0")) this.#id = value;
    if (field === "retry" && /^\d{1,9}$/.test(value)) this.#retryMs = Number(value);
    return null;
  }

  #dispatch(): Message | null {
    // Only now: an id whose message was cut off must not be gone on after.
    this.#lastId = this.#id ?? this.#lastId;
    const data = this.#data.join("\n");
    const message = { id: this.#lastId, name: this.#name, data };
    const isEvent = this.#data.length > 0;
    this.#forget();
    return isEvent ? message : null;
  }

  #forget(): void {
    this.#data = [];
    this.#size = 0;
    this.#name = "";
    this.#id = null;
  }
}
