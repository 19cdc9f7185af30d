// Waiting for a state that only a question can tell, with no sleep: a question is a round trip to the server, and
// between two of them the loop turns, or one that asks nobody would keep all else from happening. A state that never
// comes ends in the test's own timeout.

import type { Api } from "./server.ts";

/** Asks until `isDone` says so; returns that answer. */
export async function eventually<T>(ask: () => Promise<T>, isDone: (answer: T) => boolean): Promise<T> {
  for (;;) {
    const answer = await ask();
    if (isDone(answer)) return answer;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** The event once it has this status. */
export async function eventWithStatus(api: Api, id: string, status: string) {
  const answer = await eventually(
    () => api.get(`/api/events/${id}`),
    (one) => one.status !== 200 || one.body.status === status,
  );
  if (answer.status !== 200) throw new Error(`event ${id}: ${answer.status} ${answer.text}`);
  return answer.body;
}
