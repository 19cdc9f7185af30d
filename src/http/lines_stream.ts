// Lines as a stream of bytes, made only as fast as the client takes them: an export of a million events is never in
// memory, and between two chunks the event loop serves others.

const CHUNK_CHARACTERS = 64 * 1024;

/** Each line gets its line end. `onError` hears of a failure in the middle; the client sees the stream break off. */
export function linesStream(lines: Iterable<string>, onError: (error: unknown) => void): ReadableStream {
  const iterator = lines[Symbol.iterator]();
  const encoder = new TextEncoder();
  return new ReadableStream({
    async pull(controller) {
      try {
        const { text, isDone } = nextChunk(iterator);
        if (text !== "") controller.enqueue(encoder.encode(text));
        if (isDone) controller.close();
        else await Bun.sleep(0);
      } catch (error) {
        onError(error);
        controller.error(new Error("broken off"));
      }
    },
    cancel() {
      iterator.return?.();
    },
  });
}

function nextChunk(iterator: Iterator<string>): { text: string; isDone: boolean } {
  let text = "";
  while (text.length < CHUNK_CHARACTERS) {
    const next = iterator.next();
    if (next.done === true) return { text, isDone: true };
    text += `${next.value}\n`;
  }
  return { text, isDone: false };
}
