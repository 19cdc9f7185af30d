// A reader of server-sent events, as the standard says they are parsed, in the small. It reads only when it is asked.

export type Sent = { readonly id: string | null; readonly event: string; readonly data: string };

export class StreamReader {
  readonly status: number;
  readonly headers: Headers;
  /** The last id that was read, also of blocks without data; before the first one, the id that was given. */
  lastId = "";
  /** Comments, in their order. */
  readonly comments: string[] = [];
  readonly #reader;
  readonly #abort: AbortController;
  readonly #decoder = new TextDecoder();
  #rest = "";

  private constructor(response: Response, abort: AbortController) {
    this.status = response.status;
    this.headers = response.headers;
    this.#reader = response.body?.getReader();
    this.#abort = abort;
  }

  /** Resolves when the stream stands: what is committed from here on comes. */
  static async open(url: string, headers: Record<string, string>): Promise<StreamReader> {
    const abort = new AbortController();
    const response = await fetch(url, { headers, signal: abort.signal });
    const reader = new StreamReader(response, abort);
    reader.lastId = headers["last-event-id"] ?? "";
    return reader;
  }

  /** The next block that has data; null at the end of the stream. */
  async next(): Promise<Sent | null> {
    for (;;) {
      const block = await this.#block();
      if (block === null) return null;
      const sent = this.#parse(block);
      if (sent !== null) return sent;
    }
  }

  /** So many of them, each parsed. */
  async take(count: number): Promise<{ id: string; type: string; payload: unknown }[]> {
    const events = [];
    while (events.length < count) {
      const sent = await this.next();
      if (sent === null) throw new Error(`the stream ended after ${events.length} events`);
      if (sent.event !== "message") throw new Error(`${sent.event}: ${sent.data}`);
      events.push(JSON.parse(sent.data));
    }
    return events;
  }

  /** Waits for the next comment. */
  async comment(): Promise<string> {
    const before = this.comments.length;
    while (this.comments.length === before) {
      const block = await this.#block();
      if (block === null) throw new Error("the stream ended");
      this.#parse(block);
    }
    return this.comments.at(-1) ?? "";
  }

  /** Reads the first block: it says where the stream stands. */
  async greeting(): Promise<string> {
    const block = await this.#block();
    if (block === null || this.#parse(block) !== null) throw new Error(`no greeting: ${block}`);
    return this.lastId;
  }

  close(): void {
    this.#abort.abort();
  }

  async #block(): Promise<string | null> {
    for (;;) {
      const end = this.#rest.indexOf("\n\n");
      if (end >= 0) {
        const block = this.#rest.slice(0, end);
        this.#rest = this.#rest.slice(end + 2);
        return block;
      }
      const read = await this.#reader?.read();
      if (read === undefined || read.done) return null;
      this.#rest += this.#decoder.decode(read.value, { stream: true });
    }
  }

  #parse(block: string): Sent | null {
    let event = "message";
    let id: string | null = null;
    const data: string[] = [];
    for (const line of block.split(/\r\n|\r|\n/)) {
      const colon = line.indexOf(":");
      const value = line.slice(colon + 1).replace(/^ /, "");
      if (colon === 0) this.comments.push(value);
      else if (line.startsWith("id:")) id = value;
      else if (line.startsWith("event:")) event = value;
      else if (line.startsWith("data:")) data.push(value);
    }
    if (id !== null) this.lastId = id;
    return data.length === 0 ? null : { id, event, data: data.join("\n") };
  }
}
