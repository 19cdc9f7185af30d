// Answers that may be large, made piece by piece with others' work in between. What is done within its first piece is
// answered at once, as one text. What grows beyond 288 K characters is sent while it is made, only as fast as its client
// takes it: so an answer that nobody takes holds one piece, and not its 8 MiB. Surprise: nothing is refused when too
// many are open; a list then ends early, and its client goes on by the cursor.

import type { Log } from "../base/log.ts";
import type { Turns } from "./turns.ts";

/** Up to here an answer is kept together, and has a Content-Length. One event, of 256 KiB and more, is never larger. */
const WHOLE_CHARACTERS_MAX = 288 * 1024;
/** That nobody reads, 100 of them took 60 MB of memory; as whole pages 700. */
const OPEN_MAX = 128;
const OPEN_PER_ORGANIZATION_MAX = 32;
/**
 * In the background, of three milliseconds two are for others. An export that rested only as long as it worked sent 100
 * MB a second, and ingest beside it took 3.2 ms (p99 19 ms) in place of 0.9 (11).
 */
const REST = 2;

export type Piece = { readonly text: string; readonly isLast: boolean };

/** What an answer is made of. */
export type Pieces = {
  /** The next text, which may be empty: about a millisecond of work. Not called after the last one. */
  readonly next: () => Piece;
  /** What ends the answer early, behind the piece that came last; null when it must be told to its end. */
  readonly cut: (() => string) | null;
};

type Body = string | ReadableStream<Uint8Array>;
type Manner = { readonly begun: string; readonly rests: boolean };
type Answer = { readonly status: 200; readonly body: Body };
type Asked = {
  readonly request: Request;
  readonly requestId: string;
  readonly principal: { readonly org: number } | null;
};
/** See `Kit.patiently`. */
type Patience = { patiently<T>(request: Request, run: () => Promise<T>): Promise<T> };

export class LargeAnswers {
  readonly #turns: Turns;
  readonly #log: Pick<Log, "error">;
  /** By organization; the operator's under null. */
  readonly #open = new Map<number | null, number>();

  constructor(turns: Turns, log: Pick<Log, "error">) {
    this.#turns = turns;
    this.#log = log;
  }

  /** How many are being sent, for a gauge. */
  get size(): number {
    return this.#open.values().reduce((sum, open) => sum + open, 0);
  }

  /** Lists of this organization end early now; what cannot should be asked for little. */
  isFull(org: number | null): boolean {
    return (this.#open.get(org) ?? 0) >= OPEN_PER_ORGANIZATION_MAX || this.size >= OPEN_MAX;
  }

  /** 200 with these pieces: at once when the first one is all, else when they are whole or too large to be. */
  answer(kit: Patience, asked: Asked, pieces: Pieces): Answer | Promise<Answer> {
    const first = pieces.next();
    if (first.isLast) return { status: 200, body: first.text };
    const rest = kit.patiently(asked.request, () => this.#body(asked, first, pieces));
    return rest.then((body) => ({ status: 200, body }));
  }

  async #body(asked: Asked, first: Piece, pieces: Pieces): Promise<Body> {
    let { text, isLast } = first;
    while (!isLast && text.length < WHOLE_CHARACTERS_MAX) {
      const piece = await this.#turns.run(pieces.next);
      if (asked.request.signal.aborted) throw new Error("the client went away");
      text += piece.text;
      isLast = piece.isLast;
    }
    if (isLast) return text;
    if (this.isFull(orgOf(asked)) && pieces.cut !== null) return text + pieces.cut();
    return this.#stream(asked, pieces, { begun: text, rests: false });
  }

  /** A body that is made in the background: after each piece it rests. */
  background(asked: Asked, pieces: Pieces): ReadableStream<Uint8Array> {
    return this.#stream(asked, pieces, { begun: "", rests: true });
  }

  /** A failure in the middle breaks it off, and is logged. */
  #stream(asked: Asked, pieces: Pieces, { begun, rests }: Manner): ReadableStream<Uint8Array> {
    const free = this.#take(orgOf(asked));
    let text = begun;
    let tookMs = 0;
    let isLast = false;
    let isOver = false;
    const end = () => {
      if (!isOver) free();
      isOver = true;
    };
    const make = () => {
      if (isOver) return;
      const startedMs = performance.now();
      const piece = pieces.next();
      text += piece.text;
      isLast = piece.isLast;
      tookMs = performance.now() - startedMs;
    };
    const give = async (controller: ReadableStreamDefaultController<Uint8Array>) => {
      while (text === "" && !isLast && !isOver) await this.#turns.run(make);
      if (isOver) return;
      if (text !== "") controller.enqueue(encoder.encode(text));
      text = "";
      if (isLast) {
        controller.close();
        end();
      } else if (rests) await Bun.sleep(Math.ceil(tookMs * REST));
    };
    const fail = (controller: ReadableStreamDefaultController<Uint8Array>, error: unknown) => {
      end();
      this.#log.error({ request_id: asked.requestId, err: error }, "answer broke off");
      controller.error(new Error("broken off"));
    };
    return new ReadableStream<Uint8Array>(
      { pull: (controller) => give(controller).catch((error) => fail(controller, error)), cancel: end },
      { highWaterMark: 0 },
    );
  }

  /** Counts one more; returns how to count it off. */
  #take(org: number | null): () => void {
    this.#open.set(org, (this.#open.get(org) ?? 0) + 1);
    return () => {
      const rest = (this.#open.get(org) ?? 1) - 1;
      if (rest > 0) this.#open.set(org, rest);
      else this.#open.delete(org);
    };
  }
}

const encoder = new TextEncoder();

function orgOf({ principal }: Asked): number | null {
  return principal?.org ?? null;
}
