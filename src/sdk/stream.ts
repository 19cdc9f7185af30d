// Following the inbox: events as they are committed, over connections that may break at any byte. After a break the
// stream goes on behind the last event that came in whole, so none is left out and none comes twice.

import { asTold, type Connection } from "./connection.ts";
import { mayPass, TriggersError } from "./error.ts";
import { type AnyTypes, type InboxEvent, inboxEvent, isTold } from "./event.ts";
import { inboxTexts } from "./inbox.ts";
import { backoffMs, Limit, pause, withResolvers } from "./pause.ts";
import { SseParser } from "./sse.ts";

export interface StreamOptions {
  /** A type, or the beginning of one with `*` at its end. */
  readonly type?: string;
  /** First what was accepted since then, from the inbox, the oldest first. Not together with `after`. */
  readonly since?: Date | string;
  /** The `streamId` of an event: goes on behind it. Without it, the stream begins now. */
  readonly after?: string;
  /** Ends the stream; that is no error. */
  readonly signal?: AbortSignal;
  /** How long nothing may come, comments included, until the connection counts as broken; 45 unless told. */
  readonly silenceMaxSeconds?: number;
  /** Hears of each break, and when the next connection is tried. */
  readonly onReconnect?: (error: TriggersError, waitMs: number) => void;
}

/** `streamId` is empty for an event that comes from the inbox, by `since`. */
export type StreamedEvent<Types extends object = AnyTypes> = InboxEvent<Types> & {
  readonly streamId: string;
};

/** An event as the text that the server sent. */
export interface EventMessage {
  readonly streamId: string;
  readonly text: string;
  readonly parsed: unknown;
}

/** As much of a body's reader as is needed: the runtimes' types of it differ. */
interface Body {
  read(): Promise<{ readonly done: boolean; readonly value?: Uint8Array | undefined }>;
  cancel(): Promise<void>;
}

const PATH = "/api/inbox/stream";
/** The server says something each 15 s. */
const SILENCE_MAX_SECONDS = 45;
const RECONNECT_FIRST_MS = 500;
const RECONNECT_MAX_MS = 30_000;

export async function* streamEvents<Types extends object = AnyTypes>(
  connection: Connection,
  options: StreamOptions = {},
): AsyncGenerator<StreamedEvent<Types>> {
  for await (const { streamId, text, parsed } of eventMessages(connection, options))
    yield { ...inboxEvent<Types>(text, parsed), streamId };
}

/**
 * The first connection must come about: what hinders it is thrown. Later ones are tried until they do, unless the
 * server refuses for good (401, 403, 404, ...).
 */
export async function* eventMessages(
  connection: Connection,
  options: StreamOptions,
): AsyncGenerator<EventMessage> {
  const { signal } = options;
  const reader = new StreamReader(connection, options);
  try {
    await reader.begin();
    const seen = new Set<string>();
    if (options.since !== undefined) yield* past(connection, options, reader, seen);
    for (;;) {
      const message = await reader.next();
      if (message === null) return;
      if (!seen.delete(idOf(message.parsed))) yield message;
    }
  } catch (error) {
    if (!signal?.aborted) throw error;
  } finally {
    await reader.close();
  }
}

/** The stream is open by now, so what is committed during this walk comes there too; `seen` is for that. */
async function* past(
  connection: Connection,
  { type, since, signal }: StreamOptions,
  reader: StreamReader,
  seen: Set<string>,
): AsyncGenerator<EventMessage> {
  const filter = { ...(type === undefined ? {} : { type }), ...(since === undefined ? {} : { since }) };
  const options = { ...filter, order: "asc", pageSize: 1_000, ...(signal ? { signal } : {}) } as const;
  for await (const { text, parsed } of inboxTexts(connection, options)) {
    if (reader.mayRepeat(parsed)) seen.add(idOf(parsed));
    yield { streamId: "", text, parsed };
  }
}

class StreamReader {
  readonly #connection: Connection;
  readonly #options: StreamOptions;
  readonly #queue: (EventMessage | TriggersError)[] = [];
  #limit = new Limit();
  #decoder = new TextDecoder();
  readonly #parser: SseParser;
  #body: Body | null = null;
  #openedMs: number | null = null;
  #breaks = 0;

  constructor(connection: Connection, options: StreamOptions) {
    this.#connection = connection;
    this.#options = options;
    this.#parser = new SseParser(options.after);
  }

  /**
   * Returns when it is known where the stream stands. A body that fails drops what was not read of it, so a break
   * before the first id was read would leave a gap behind it that nobody knows of.
   */
  async connect(): Promise<void> {
    const { type, signal } = this.#options;
    const { lastId } = this.#parser;
    this.#limit.end();
    this.#limit = new Limit(signal);
    this.#decoder = new TextDecoder();
    this.#parser.restart();
    const ask = { method: "GET", path: PATH, query: { type }, isIdempotent: true, signal } as const;
    const headers = { accept: "text/event-stream", ...(lastId === "" ? {} : { "last-event-id": lastId }) };
    const answer = await this.#connection.open(ask, headers, this.#limit);
    this.#openedMs ??= Date.parse(answer.headers.get("date") ?? "") || Date.now();
    this.#body = answer.body?.getReader() ?? null;
    while (this.#parser.lastId === "" && this.#queue.length === 0) await this.#read();
  }

  /** The first connection. */
  async begin(): Promise<void> {
    try {
      await this.connect();
    } catch (error) {
      throw asTold(error, this.#options.signal);
    }
  }

  /** Whether an event of the inbox may be on the stream too: by the server's clock, which ids and dates are from. */
  mayRepeat(parsed: unknown): boolean {
    const told =
      typeof parsed === "object" && parsed !== null && "updated_at" in parsed ? parsed.updated_at : "";
    // A Date header has whole seconds; the rest is for a clock that was set back.
    return Date.parse(String(told)) >= (this.#openedMs ?? 0) - 10_000;
  }

  /** The next event; null at the end, which only the signal makes. */
  async next(): Promise<EventMessage | null> {
    for (;;) {
      const message = this.#queue.shift();
      if (this.#options.signal?.aborted) return null;
      try {
        if (message instanceof TriggersError) throw message;
        if (message !== undefined) return message;
        await this.#read();
      } catch (error) {
        await this.#reconnect(asTold(error, this.#options.signal));
      }
    }
  }

  async close(): Promise<void> {
    this.#limit.end();
    // A body whose fetch was aborted rejects here with that abort.
    await this.#body?.cancel().catch(() => {});
    this.#body = null;
  }

  async #read(): Promise<void> {
    // Only while it is waited for: a caller that takes its time is no silence of the server.
    this.#limit.start((this.#options.silenceMaxSeconds ?? SILENCE_MAX_SECONDS) * 1_000);
    const chunk = await aborted(this.#limit.signal, this.#body?.read());
    this.#limit.stop();
    if (chunk === undefined || chunk.done) throw new Error("the stream ended");
    this.#breaks = 0;
    for (const { id, name, data } of this.#parser.push(this.#decoder.decode(chunk.value, { stream: true }))) {
      const parsed = parse(data);
      if (name === "error") this.#queue.push(farewell(parsed, data));
      else if (name === "" && isTold(parsed)) this.#queue.push({ streamId: id, text: data, parsed });
    }
  }

  async #reconnect(error: unknown): Promise<void> {
    const { signal, onReconnect } = this.#options;
    for (let why = error; ; ) {
      if (signal?.aborted || !isPassing(why)) throw why;
      await this.close();
      const firstMs = this.#parser.retryMs ?? RECONNECT_FIRST_MS;
      const ownMs = backoffMs(this.#breaks++, firstMs, Math.max(RECONNECT_MAX_MS, firstMs));
      const waitMs = Math.max(ownMs, (why.retryAfterSeconds ?? 0) * 1_000);
      onReconnect?.(why, waitMs);
      await pause(waitMs, signal);
      try {
        return await this.connect();
      } catch (next) {
        why = asTold(next, signal);
      }
    }
  }
}

/** The read, or a rejection when the signal is aborted first: a body does not always hear of its fetch's abort. */
async function aborted<T>(signal: AbortSignal, read: Promise<T> | undefined): Promise<T | undefined> {
  if (signal.aborted) throw signal.reason;
  const over = withResolvers<never>();
  const onAbort = () => over.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([read, over.promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

/** Why the server ends the stream: a problem document, with the status that the call would be refused with. */
function farewell(parsed: unknown, text: string): TriggersError {
  const problem = typeof parsed === "object" && parsed !== null ? (parsed as Record<string, unknown>) : {};
  const { status, code, detail } = problem;
  return new TriggersError({
    status: typeof status === "number" ? status : 503,
    code: String(code ?? "stream_ended"),
    detail: String(detail ?? text),
    problem,
  });
}

/** A slow reader may go on where it was. */
function isPassing(error: unknown): error is TriggersError {
  return mayPass(error) || (error instanceof TriggersError && error.code === "slow_reader");
}

function parse(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    return null;
  }
}

function idOf(parsed: unknown): string {
  return typeof parsed === "object" && parsed !== null && "id" in parsed ? String(parsed.id) : "";
}
