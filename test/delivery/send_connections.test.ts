// Connections of the sender: used again, given back, and never the reason that an endpoint's attempt fails.
import { heapStats } from "bun:jsc";
import { describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import type { AttemptErrorKind } from "../../src/webhook/verdict.ts";
import { answer, type Behavior, raw } from "../help/receiver.ts";
import { attempt, endAfterEachTest, receiver, runScript, SEND_MODULE, sender } from "../help/sending.ts";

endAfterEachTest();

describe("connections", () => {
  test("are used again, one after the other and as many as are in flight at once", async () => {
    const one = receiver();
    const { send } = sender();
    for (let turn = 0; turn < 20; turn++) await send(attempt(one.url));
    expect(one.connectionsSeen).toBe(1);
    for (let round = 0; round < 5; round++) {
      await Promise.all(Array.from({ length: 8 }, () => send(attempt(one.url))));
    }
    expect(one.connectionsSeen).toBeLessThanOrEqual(8);
    expect(one.received).toHaveLength(60);
  });

  test("are used again after an answer of failure", async () => {
    const one = receiver(answer(500));
    const { send } = sender();
    for (let turn = 0; turn < 5; turn++) await send(attempt(one.url));
    expect(one.connectionsSeen).toBe(1);
  });

  test("that the receiver closes after each answer, without a word, fail no attempt", async () => {
    const one = receiver({ kind: "close_after_answer" });
    const { send } = sender();
    for (let turn = 0; turn < 50; turn++) {
      expect(await send(attempt(one.url))).toMatchObject({ status: 200, error: null });
    }
    expect(one.received.length).toBeGreaterThanOrEqual(50);
  });

  test.each<Behavior>([{ kind: "hang_up" }, { kind: "reset" }])(
    "that were kept and are closed under a request make it go out again, unchanged, on a new one: %j",
    async (fault) => {
      const one = receiver((received) =>
        one.received.length === 2 && received.connection === 1 ? fault : answer(),
      );
      const { send } = sender();
      await send(attempt(one.url));
      expect(await send(attempt(one.url, { attemptNumber: 2 }))).toMatchObject({ status: 200, error: null });
      const [, lost, again] = await one.waitFor(3);
      expect(one.received).toHaveLength(3);
      expect([lost?.connection, again?.connection]).toEqual([1, 2]);
      expect(again?.body).toBe(lost?.body ?? "none");
      for (const name of ["webhook-id", "webhook-signature", "webhook-timestamp", "x-attempt"]) {
        expect(again?.header(name)).toBe(lost?.header(name) ?? "none");
      }
    },
  );

  test("that were kept and all died make a request go out again on a new one, not on the next dead one", async () => {
    const one = receiver(({ connection }) =>
      connection <= 4 && one.received.filter((other) => other.connection === connection).length > 1
        ? { kind: "hang_up" }
        : answer(),
    );
    const { send } = sender();
    await Promise.all(Array.from({ length: 4 }, () => send(attempt(one.url))));
    expect(one.connectionsSeen).toBe(4);
    expect(await send(attempt(one.url))).toMatchObject({ status: 200, error: null });
    expect(one.connectionsSeen).toBe(5);
    expect(one.received).toHaveLength(6);
  });

  test("that are closed under a request make it go out again only once", async () => {
    const one = receiver(() => (one.received.length === 1 ? answer() : { kind: "hang_up" }));
    const { send } = sender();
    await send(attempt(one.url));
    expect((await send(attempt(one.url))).error?.kind).toBe("connection_reset");
    await one.idle();
    expect(one.received).toHaveLength(3);
  });

  test("that break within an answer do not make the request go out again", async () => {
    const one = receiver(() => (one.received.length === 1 ? answer() : raw("HTTP/1.1 2")));
    const { send } = sender();
    await send(attempt(one.url));
    expect((await send(attempt(one.url))).error?.kind).toBe("connection_reset");
    await one.idle();
    expect(one.received).toHaveLength(2);
  });

  test("keep a request that goes out again within its one deadline", async () => {
    const one = receiver(
      () => [answer(), { kind: "hang_up" } as const][one.received.length - 1] ?? { kind: "hang" },
    );
    const { send } = sender();
    await send(attempt(one.url));
    expect((await send(attempt(one.url, { timeoutMs: 100 }))).error?.kind).toBe("timeout");
    await one.idle();
    expect(one.received).toHaveLength(3);
  });

  test("file descriptors and memory are given back by 1000 attempts to a receiver that hangs", async () => {
    const one = receiver({ kind: "hang" });
    const { send } = sender();
    await send(attempt(one.url, { timeoutMs: 50 })); // opens what is opened once
    const openBefore = openDescriptors();
    const promisesBefore = promisesAlive();
    for (let round = 0; round < 10; round++) {
      const outcomes = await Promise.all(
        Array.from({ length: 100 }, () => send(attempt(one.url, { timeoutMs: 50 }))),
      );
      expect(new Set(outcomes.map((outcome) => outcome.error?.kind))).toEqual(
        new Set<AttemptErrorKind>(["timeout"]),
      );
    }
    await one.idle();
    expect(openDescriptors()).toBeLessThanOrEqual(openBefore);
    expect(promisesAlive()).toBeLessThan(promisesBefore + 500);
  });

  test("and timers keep no process alive that has nothing else to do", async () => {
    const one = receiver();
    const script = `
      const { createSender } = await import(${JSON.stringify(SEND_MODULE)});
      const sender = createSender({ egress: { allowPrivate: true, allowed: [] }, userAgentVersion: "1" });
      const event = { id: "1", type: "t", timestampMs: 0, data: "1" };
      const attempt = { timeoutMs: 3600000, attemptNumber: 1, event, secretKeys: [new Uint8Array(32)] };
      for (const host of ["127.0.0.1", "localhost"]) {
        console.log((await sender.send({ ...attempt, url: "http://" + host + ":${one.port}/" })).status);
      }`;
    expect(await runScript(script)).toBe("200\n200\n");
  });
});

describe("a closed sender", () => {
  test("ends what is in flight, and what comes later, as cancelled, and drops its connections", async () => {
    const one = receiver();
    one.on("/hang", { kind: "hang" });
    const { send, close } = sender();
    await Promise.all(Array.from({ length: 3 }, () => send(attempt(one.url))));
    const inFlight = [send(attempt(`${one.url}/hang`)), send(attempt(`${one.url}/hang`))];
    await one.waitFor(5);
    expect(one.connectionsOpen).toBe(3);
    close();
    close();
    for (const outcome of [...(await Promise.all(inFlight)), await send(attempt(one.url))]) {
      expect(outcome).toMatchObject({ status: null, error: { kind: "cancelled" } });
    }
    await one.idle();
    expect(one.received).toHaveLength(5);
  });
});

function openDescriptors(): number {
  return readdirSync("/dev/fd").length;
}

/** Each attempt makes some: those of attempts that nobody holds any more are not counted. */
function promisesAlive(): number {
  Bun.gc(true);
  return heapStats().objectTypeCounts.Promise ?? 0;
}
