// Calls of the API for the makers of fixtures. A refusal is an error.

// biome-ignore lint/suspicious/noExplicitAny: answers are handed on as they are
type Json = any;

export type Call = (method: string, path: string, body?: object, key?: string) => Promise<Json>;

/** `key` is null for calls without one. The answer's JSON; lines of NDJSON as a text. */
export function callerOf(url: string): Call {
  return async (method, where, body, key) => {
    const response = await fetch(url + where, {
      method,
      headers: { "content-type": "application/json", ...(key === undefined ? {} : { "x-api-key": key }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${where} answered ${response.status}: ${text}`);
    const isJson = response.headers.get("content-type")?.includes("application/json") ?? false;
    return isJson ? JSON.parse(text) : text;
  };
}

/** Asks until it is so. */
export async function until(ask: () => Promise<Json>, isDone: (answer: Json) => boolean): Promise<Json> {
  for (;;) {
    const answer = await ask();
    if (isDone(answer)) return answer;
    await new Promise((resolve) => setImmediate(resolve));
  }
}
