// Who is woken by what, and how many may wait: the part of long polls that a client cannot see.

import { expect, test } from "bun:test";
import { HttpProblem } from "../../src/http/problem.ts";
import { Turns } from "../../src/http/turns.ts";
import { type Question, Waiting } from "../../src/http/waiting.ts";

/** A list of what there is, and who is told when it grows. */
class Shelf {
  readonly items: string[] = [];
  readonly #listeners = new Set<() => void>();

  onReadable(_org: number, listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  put(...items: string[]): void {
    this.items.push(...items);
    for (const listener of [...this.#listeners]) listener();
  }
}

const options = (org = 1, key = "k", waitMs = 30_000) => ({
  org,
  key,
  waitMs,
  signal: new AbortController().signal,
});

/** Takes one item: `last` when it was the last. */
function taking(shelf: Shelf, onLook: () => void = () => {}): Question<string | null> {
  let rest = 0;
  return {
    look: () => {
      onLook();
      const item = shelf.items.shift() ?? null;
      rest = shelf.items.length;
      return item;
    },
    verdict: (item) => (item === null ? "empty" : rest === 0 ? "last" : "more"),
  };
}

/** Sees whether there is anything. */
function seeing(shelf: Shelf, onLook: () => void = () => {}): Question<readonly string[]> {
  const look = () => {
    onLook();
    return [...shelf.items];
  };
  return { look, verdict: (items) => (items.length === 0 ? "empty" : "more") };
}

test("what is there is given at once, and nothing is left behind", async () => {
  const shelf = new Shelf();
  shelf.put("a");
  const waiting = new Waiting(shelf, new Turns());
  expect(await waiting.wait(options(), taking(shelf))).toBe("a");
  expect([waiting.size, shelf.listeners]).toEqual([0, 0]);
});

test("what comes while the first look is under way is not missed", async () => {
  const shelf = new Shelf();
  const waiting = new Waiting(shelf, new Turns());
  const { promise, resolve } = Promise.withResolvers<null>();
  let looks = 0;
  const question: Question<string | null> = {
    ...taking(shelf),
    look: () => (looks++ === 0 ? promise : (shelf.items.shift() ?? null)),
  };
  const answer = waiting.wait(options(), question);
  shelf.put("a");
  resolve(null);
  expect(await answer).toBe("a");
});

test("one item is taken by one, the first who waited, and the others do not look in vain", async () => {
  const shelf = new Shelf();
  const waiting = new Waiting(shelf, new Turns());
  let looks = 0;
  const answers = Array.from({ length: 500 }, () =>
    waiting.wait(
      options(),
      taking(shelf, () => looks++),
    ),
  );
  await Promise.race([...answers, Promise.resolve()]);
  expect(looks).toBe(500);
  shelf.put("a");
  expect(await Promise.race(answers.map(async (answer, at) => [await answer, at] as const))).toEqual([
    "a",
    0,
  ]);
  expect([looks, waiting.size]).toEqual([501, 499]);
  shelf.put("b", "c");
  expect(await Promise.all([answers[1], answers[2]])).toEqual(["b", "c"]);
  expect([looks, waiting.size]).toEqual([503, 497]);
  waiting.close();
  expect((await Promise.all(answers)).slice(3).every((item) => item === null)).toBe(true);
  expect(shelf.listeners).toBe(0);
});

test("a look that finds nothing speaks for all who ask the same", async () => {
  const shelf = new Shelf();
  const waiting = new Waiting(shelf, new Turns());
  let looks = 0;
  const answers = Array.from({ length: 999 }, () =>
    waiting.wait(
      options(),
      seeing(shelf, () => looks++),
    ),
  );
  const other = waiting.wait(options(1, "other"), seeing(shelf));
  await Promise.resolve();
  shelf.put();
  const turn = Promise.withResolvers<void>();
  setImmediate(() => setImmediate(turn.resolve));
  await turn.promise;
  expect(looks).toBe(1_000);
  shelf.put("a");
  expect(new Set((await Promise.all([...answers, other])).flat())).toEqual(new Set(["a"]));
});

test("at most 1 000 of an organization and 10 000 of all wait; who finds something need not", async () => {
  const shelf = new Shelf();
  const waiting = new Waiting(shelf, new Turns());
  const answers: Promise<unknown>[] = [];
  for (let n = 0; n < 10_000; n++) answers.push(waiting.wait(options(Math.floor(n / 1_000)), seeing(shelf)));
  const refused = async (org: number) => waiting.wait(options(org), seeing(shelf)).catch((error) => error);
  for (const error of [await refused(3), await refused(10)]) {
    expect(error).toBeInstanceOf(HttpProblem);
    expect([error.problem, error.headers["retry-after"]]).toEqual(["too_many_waiters", "1"]);
  }
  const full = new Shelf();
  full.items.push("a");
  expect(await waiting.wait(options(3), seeing(full))).toEqual(["a"]);
  waiting.close();
  await Promise.all(answers);
  expect([waiting.size, shelf.listeners]).toEqual([0, 0]);
});

test("a time at which something comes back wakes, without a commit", async () => {
  const shelf = new Shelf();
  const waiting = new Waiting(shelf, new Turns());
  const freeAtMs = Date.now() + 20;
  const question: Question<string | null> = {
    look: () => (Date.now() >= freeAtMs ? "back" : null),
    verdict: (item) => (item === null ? "empty" : "last"),
    freeAtMs: () => freeAtMs,
  };
  expect(await waiting.wait(options(), question)).toBe("back");
});

test("at the deadline the answer is the latest empty look, and what a look under way brings is not lost", async () => {
  const shelf = new Shelf();
  const waiting = new Waiting(shelf, new Turns());
  expect(await waiting.wait(options(1, "k", 5), seeing(shelf))).toEqual([]);
  const { promise, resolve } = Promise.withResolvers<string | null>();
  let looks = 0;
  const question: Question<string | null> = {
    look: () => (looks++ === 0 ? null : promise),
    verdict: (item) => (item === null ? "empty" : "last"),
  };
  const answer = waiting.wait(options(1, "k", 5), question);
  await Promise.resolve();
  shelf.put();
  await waiting.wait(options(1, "other", 20), seeing(shelf));
  resolve("late");
  expect([await answer, looks]).toEqual(["late", 2]);
});

test("what is found for a client that has gone is given back", async () => {
  const shelf = new Shelf();
  const waiting = new Waiting(shelf, new Turns());
  const gone = new AbortController();
  const { promise, resolve } = Promise.withResolvers<string | null>();
  const undone: unknown[] = [];
  let looks = 0;
  const question: Question<string | null> = {
    look: () => (looks++ === 0 ? null : promise),
    verdict: (item) => (item === null ? "empty" : "last"),
    undo: (item) => undone.push(item),
  };
  const answer = waiting.wait({ ...options(), signal: gone.signal }, question);
  await Promise.resolve();
  shelf.put();
  await waiting.wait(options(1, "other", 5), seeing(new Shelf()));
  gone.abort();
  resolve("a");
  await answer;
  expect(undone).toEqual(["a"]);
  expect([waiting.size, shelf.listeners]).toEqual([0, 0]);
});

test("a look that fails refuses the one it was for", async () => {
  const shelf = new Shelf();
  const waiting = new Waiting(shelf, new Turns());
  let looks = 0;
  const failing: Question<null> = {
    look: () => {
      if (looks++ > 0) throw new Error("broken");
      return null;
    },
    verdict: () => "empty",
  };
  const [bad, good] = [waiting.wait(options(), failing), waiting.wait(options(), seeing(shelf))];
  await Promise.resolve();
  shelf.put("a");
  expect(await bad.catch((error: Error) => error.message)).toBe("broken");
  expect(await good).toEqual(["a"]);
});
