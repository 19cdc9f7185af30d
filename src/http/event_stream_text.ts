// Events as text/event-stream (https://html.spec.whatwg.org/multipage/server-sent-events.html), and the ids by which a
// stream is continued. Surprise: a payload may hold line ends, as white space between its tokens. Each line is a `data:`
// of its own; the reader puts them together again with line feeds, which is the same JSON.

import type { Reads, StreamPosition } from "../store/store.ts";
import { decodeCursor, encodeCursor } from "./cursor.ts";
import { inboxEventJson } from "./event_json.ts";
import { HttpProblem, invalid, type ProblemCode, problemText } from "./problem.ts";

type Found = ReturnType<Reads["streamAfter"]>;

/** `bytes` is null when there is nothing to tell. `position`: how far was looked. `more`: look again at once. */
export type StreamPage = {
  readonly bytes: Uint8Array | null;
  readonly position: StreamPosition;
  readonly more: boolean;
};

const ID_DETAIL = "It must be the id of an event of this stream, as it was sent. Leave it out to begin now.";
const encoder = new TextEncoder();

/** What was found behind a position. */
export function pageOfEvents(org: number, { events, position, more }: Found): StreamPage {
  const texts = events.map((one) => `${idLine(org, one.position)}${dataLines(inboxEventJson(one.event))}\n`);
  return { bytes: texts.length === 0 ? null : encoder.encode(texts.join("")), position, more };
}

/** The first that is sent: where the stream stands, so that a client that is cut off before an event loses nothing. */
export function greetingOf(org: number, position: StreamPosition): Uint8Array {
  return encoder.encode(`retry: 1000\n${idLine(org, position)}\n`);
}

/** A comment, with the position when it moved past events of other types. */
export function heartbeatOf(org: number, moved: StreamPosition | null): Uint8Array {
  return encoder.encode(`: keep-alive\n${moved === null ? "" : idLine(org, moved)}\n`);
}

/** The last that is sent when the server stops: connect again. */
export const GOODBYE: Uint8Array = encoder.encode(`event: close\ndata: {"reason":"shutdown"}\n\n`);

/** The last that is sent to a client that may not, or does not, go on. */
export function farewellOf(code: ProblemCode): Uint8Array {
  return encoder.encode(`event: error\n${dataLines(problemText(new HttpProblem(code)))}\n`);
}

/** The position that an id stands for; 422 when it is none of this organization's. */
export function positionOf(org: number, id: string, pointer: string): StreamPosition {
  try {
    const key = decodeCursor(walkOf(org), id);
    if (key !== null) return { seq: key.row, appeared: key.within };
  } catch {
    // Said in the words of a stream.
  }
  throw invalid(pointer, ID_DETAIL);
}

function idLine(org: number, { seq, appeared }: StreamPosition): string {
  return `id: ${encodeCursor(walkOf(org), seq, appeared)}\n`;
}

/** Not of the types: another filter may go on where this one stood. */
function walkOf(org: number): string {
  return `stream ${org}`;
}

function dataLines(text: string): string {
  return `data: ${/[\r\n]/.test(text) ? text.replace(/\r\n|\r|\n/g, "\ndata: ") : text}\n`;
}
