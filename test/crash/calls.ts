// The load's calls: an answer, or none because the server was killed. Tells who counts that an answer came.

import { type Answer, type Api, apiOf } from "../help/server.ts";
import type { World } from "./record.ts";

/** Answers by which nothing happened: the server is stopping, or too many keys are looked at. */
const REFUSED: readonly number[] = [429, 503];

export class Calls {
  /** Of the server that runs now. */
  url = "";
  onAnswer: () => void = () => {};
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  /** "lost": no answer, it may have happened. "refused": an answer that it did not. */
  async call(
    key: string | null,
    method: string,
    path: string,
    body?: string | object,
  ): Promise<Answer | "lost" | "refused"> {
    const api = this.api(key);
    const init = { headers: { "content-type": "application/json" } };
    const text = typeof body === "object" ? JSON.stringify(body) : body;
    let answer: Answer;
    try {
      answer = await api.send(method, path, text === undefined ? init : { ...init, body: text });
    } catch {
      return "lost";
    }
    this.#world.counts.answered++;
    this.onAnswer();
    if (!REFUSED.includes(answer.status)) return answer;
    this.#world.counts.refused++;
    return "refused";
  }

  /** For the checker: an answer that does not come is a failure. */
  api(key: string | null): Api {
    return apiOf(this.url, key === null ? {} : { "x-api-key": key });
  }

  /** Notes an answer that is none of those that may come. */
  unexpected(what: string, { status, text }: Answer): void {
    this.#world.violated(`${what} was answered ${status}: ${text.slice(0, 300)}`);
  }
}
