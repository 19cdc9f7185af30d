// Lines of a byte stream, with their numbers. At most one line is in memory beyond the chunk that was read: one that
// is longer than it may be is not kept but only counted, and a line that is no UTF-8 is told as such.

/** `text: null`: `detail` says why it cannot be read. Lines are counted from 1, empty ones too. */
export type Line =
  | { readonly number: number; readonly text: string }
  | { readonly number: number; readonly text: null; readonly detail: string };

const LINE_FEED = 0x0a;

export async function* readLines(chunks: AsyncIterable<Uint8Array>, bytesMax: number): AsyncGenerator<Line> {
  let number = 1;
  let parts: Uint8Array[] = [];
  let size = 0;
  const keep = (bytes: Uint8Array) => {
    size += bytes.length;
    if (size <= bytesMax) parts.push(bytes);
    else parts = [];
  };
  const take = (): Line => {
    const line = lineOf(number++, parts, size, bytesMax);
    parts = [];
    size = 0;
    return line;
  };
  for await (const chunk of chunks) {
    let from = 0;
    for (let end = chunk.indexOf(LINE_FEED); end !== -1; end = chunk.indexOf(LINE_FEED, from)) {
      keep(chunk.subarray(from, end));
      from = end + 1;
      yield take();
    }
    // A copy: the chunk may be large, and what is left of it small.
    if (from < chunk.length) keep(chunk.slice(from));
  }
  if (size > 0) yield take();
}

function lineOf(number: number, parts: readonly Uint8Array[], size: number, bytesMax: number): Line {
  if (size > bytesMax) return { number, text: null, detail: `it has more than ${bytesMax} bytes` };
  try {
    return { number, text: new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(parts)) };
  } catch {
    return { number, text: null, detail: "it is not UTF-8" };
  }
}
