// Where the sender connects to: the egress guard at work on real connections, and names that change their answer.
// Certificates are in send_tls.test.ts.
import { describe, expect, test } from "bun:test";
import type { Lookup } from "../../src/delivery/resolve.ts";
import { answer, type Receiver } from "../help/receiver.ts";
import { attempt, endAfterEachTest, receiver, resolving, sender } from "../help/sending.ts";

endAfterEachTest();

describe("the egress guard", () => {
  test("refuses a literal address before anything is connected, and names the setting that opens it", async () => {
    const one = receiver();
    const outcome = await sender([]).send(attempt(one.url.replace("http:", "https:")));
    expect(outcome).toMatchObject({ status: null, error: { kind: "blocked_address" } });
    expect(outcome.error?.message).toContain("WEBHOOK_ALLOW_PRIVATE");
    expect(one.connectionsSeen).toBe(0);
  });

  test.each(["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "169.254.169.254"])(
    "refuses a name that resolves to %s, without telling the address",
    async (address) => {
      const one = receiver();
      const lookup = resolving(address);
      const outcome = await sender([], lookup).send(attempt(`https://innocent.test:${one.port}/`));
      expect(outcome.error?.kind).toBe("blocked_address");
      expect(outcome.error?.message).toContain("innocent.test");
      expect(outcome.error?.message).toContain("WEBHOOK_ALLOW_PRIVATE");
      expect(outcome.error?.message).not.toContain(address);
      expect(lookup.asked).toEqual(["innocent.test"]);
      expect(one.connectionsSeen).toBe(0);
    },
  );

  test("lets plain http go to listed networks only, whatever a name resolves to", async () => {
    const outcome = await sender(["127.0.0.0/8"], resolving("8.8.8.8")).send(attempt("http://public.test/"));
    expect(outcome.error).toEqual({
      kind: "blocked_address",
      message: expect.stringContaining("plain http"),
    });
    expect((await sender().send(attempt("http://[::1%25lo]/"))).error?.kind).toBe("invalid_request");
    expect((await sender([]).send(attempt("http://public.test/"))).error?.kind).toBe("blocked_address");
  });

  test("connects to an allowed address of a name and never to its others", async () => {
    const allowed = receiver();
    const other = receiver(undefined, { hostname: "127.0.0.2", port: allowed.port });
    const { send } = sender(["127.0.0.1"], resolving("127.0.0.2", "127.0.0.1", "10.0.0.1"));
    expect((await send(attempt(`http://both.test:${allowed.port}/`))).status).toBe(200);
    expect(allowed.received).toHaveLength(1);
    expect(other.connectionsSeen).toBe(0);
  });

  // Each is 127.0.0.1 to one parser or another.
  test.each([
    ...[
      "127.0.0.1",
      "127.0.0.1.",
      "127.1",
      "2130706433",
      "017700000001",
      "0x7f000001",
      "0x7f.0.0.01",
      "0177.1",
    ],
    ...[
      "１２７.0.0.1",
      "127。0。0。1",
      "%31%32%37.0.0.1",
      "①②⑦.⓪.⓪.①",
      "localhost",
      "LOCALHOST.",
      "a.localhost",
      "0",
    ],
    ...[
      "[::1]",
      "[::127.0.0.1]",
      "[::ffff:127.0.0.1]",
      "[::ffff:7f00:1]",
      "[64:ff9b::7f00:1]",
      "[2002:7f00:1::]",
    ],
  ])("connects to nothing for https://%s/, and names the setting", async (host) => {
    const one = receiver();
    const lookup = resolving("127.0.0.1");
    const outcome = await sender([], lookup).send(attempt(`https://${host}:${one.port}/`));
    expect(outcome.error?.kind).toBe("blocked_address");
    expect(outcome.error?.message).toContain("WEBHOOK_ALLOW_PRIVATE");
    expect(lookup.asked).toEqual([]);
    expect(one.connectionsSeen).toBe(0);
  });

  test.each(["127.1", "2130706433", "0x7f.1", "１２７.0.0.1", "127.0.0.1."])(
    "connects to the plain address that http://%s/ stands for, when that is listed",
    async (host) => {
      const one = receiver();
      const outcome = await sender(["127.0.0.1"]).send(attempt(`http://${host}:${one.port}/`));
      expect(outcome).toMatchObject({ status: 200, error: null });
      expect(one.received[0]?.header("host")).toBe(`127.0.0.1:${one.port}`);
    },
  );

  test.each(["", "127.1", "2130706433", "0x7f000001", "127.0.0.1.", "[::1]", "127.0.0.1:80", "localhost"])(
    "connects to nothing when a resolver answers with %j, even if everything is open",
    async (address) => {
      const one = receiver();
      const outcome = await sender(true, resolving(address)).send(attempt(`http://odd.test:${one.port}/`));
      expect(outcome.error?.kind).toBe("blocked_address");
      expect(one.connectionsSeen).toBe(0);
    },
  );

  test("opens a listed network to its last address and not to the one beyond, as a literal and by name", async () => {
    const { port } = receiver();
    const at = Object.fromEntries(
      [3, 4, 5, 6, 7, 8].map((last) => [last, receiver(undefined, { hostname: `127.0.0.${last}`, port })]),
    );
    for (const [last, one] of Object.entries(at)) {
      const isListed = last >= "4" && last <= "7";
      const { send } = sender(["127.0.0.4/30"], resolving(`127.0.0.${last}`));
      for (const host of [`127.0.0.${last}`, "name.test"]) {
        const outcome = await send(attempt(`http://${host}:${port}/`));
        expect([host, last, outcome.status]).toEqual([host, last, isListed ? 200 : null]);
        expect(outcome.error?.kind).toBe(isListed ? undefined : "blocked_address");
        if (!isListed) expect(outcome.error?.message).toContain("WEBHOOK_ALLOW_PRIVATE");
      }
      expect(one.received).toHaveLength(isListed ? 2 : 0);
      expect(one.connectionsSeen > 0).toBe(isListed);
    }
  });

  test("asks the machine's own resolver no differently: of localhost it takes what is listed", async () => {
    const one = receiver();
    const url = `http://localhost:${one.port}/`;
    expect(await sender(["127.0.0.1"]).send(attempt(url))).toMatchObject({ status: 200, error: null });
    const { status } = await sender(["::1"]).send(attempt(url)); // refused there, or there is no ::1
    expect(status).toBeNull();
    expect(one.connectionsSeen).toBe(1);
  });
});

describe("a name that changes its answer (DNS rebinding)", () => {
  /** Two machines on one port; only the first is allowed. `lookup` gives one address an ask, the last one for ever. */
  function rebinding(...answers: ("allowed" | "refused")[]) {
    const allowed = receiver();
    const refused = receiver(undefined, { hostname: "127.0.0.2", port: allowed.port });
    let asked = 0;
    const lookup: Lookup = (_hostname, done) => {
      const now = answers[Math.min(asked++, answers.length - 1)];
      done([{ address: now === "allowed" ? "127.0.0.1" : "127.0.0.2", family: 4 }]);
    };
    const { send } = sender(["127.0.0.1"], lookup);
    const post = () => send(attempt(`http://rebinding.test:${allowed.port}/`));
    return { allowed, refused, post, asked: () => asked };
  }

  test("is asked once for each connection: the address that was checked is the one connected to", async () => {
    const { allowed, refused, post, asked } = rebinding("allowed", "refused");
    allowed.on("*", { kind: "close_after_answer" });
    expect((await post()).status).toBe(200);
    await allowed.idle();
    expect((await post()).error?.kind).toBe("blocked_address");
    expect(asked()).toBe(2);
    expect(refused.connectionsSeen).toBe(0);
  });

  test("is refused while it leads to a refused address, and reached when it leads to an allowed one", async () => {
    const { allowed, refused, post, asked } = rebinding("refused", "allowed");
    expect((await post()).error).toMatchObject({
      kind: "blocked_address",
      message: expect.stringContaining("WEBHOOK_ALLOW_PRIVATE"),
    });
    expect((await post()).status).toBe(200);
    expect(asked()).toBe(2);
    expect(allowed.received).toHaveLength(1);
    expect(refused.connectionsSeen).toBe(0);
  });

  test("is still reached by a kept connection, which leads where was checked; a new one is refused", async () => {
    const { allowed, refused, post, asked } = rebinding("allowed", "refused");
    for (let turn = 0; turn < 3; turn++) expect((await post()).status).toBe(200);
    expect(asked()).toBe(1);
    const kinds = (await Promise.all([post(), post()])).map(({ error }) => error?.kind ?? "delivered");
    expect(kinds.sort()).toEqual(["blocked_address", "delivered"]);
    expect(allowed.connectionsSeen).toBe(1);
    expect(refused.connectionsSeen).toBe(0);
  });

  test("is checked anew when its kept connection dies under a request that then goes out again", async () => {
    const { allowed, refused, post, asked } = rebinding("allowed", "refused");
    allowed.on("*", () => (allowed.received.length === 1 ? answer() : { kind: "hang_up" }));
    expect((await post()).status).toBe(200);
    expect((await post()).error?.kind).toBe("blocked_address");
    expect(asked()).toBe(2);
    expect(allowed.received).toHaveLength(2);
    expect(refused.connectionsSeen).toBe(0);
  });

  test("shares no connection with another name or another port", async () => {
    const [here, there] = [receiver(), receiver()];
    const elsewhere = receiver(undefined, { hostname: "127.0.0.2", port: here.port });
    const lookup: Lookup = (hostname, done) =>
      done([{ address: hostname === "b.test" ? "127.0.0.2" : "127.0.0.1", family: 4 }]);
    const { send } = sender(["127.0.0.0/8"], lookup);
    for (let turn = 0; turn < 2; turn++) {
      for (const host of [`a.test:${here.port}`, `b.test:${here.port}`, `a.test:${there.port}`]) {
        expect((await send(attempt(`http://${host}/`))).status).toBe(200);
      }
    }
    const hosts = (one: Receiver) => one.received.map(({ header }) => header("host"));
    expect(hosts(here)).toEqual([`a.test:${here.port}`, `a.test:${here.port}`]);
    expect(hosts(elsewhere)).toEqual([`b.test:${here.port}`, `b.test:${here.port}`]);
    expect(hosts(there)).toEqual([`a.test:${there.port}`, `a.test:${there.port}`]);
    for (const one of [here, there, elsewhere]) expect(one.connectionsSeen).toBe(1);
  });
});

describe("a name", () => {
  test("that resolves to nothing fails the attempt", async () => {
    const outcome = await sender(true, resolving()).send(attempt("https://nowhere.test/"));
    expect(outcome.error).toEqual({ kind: "dns_failed", message: expect.stringContaining("nowhere.test") });
  });

  test("that no resolver can know fails the attempt", async () => {
    const outcome = await sender().send(attempt(`https://${"x".repeat(64)}.test/`));
    expect(outcome.error?.kind).toBe("dns_failed");
  });

  test("whose resolver hangs is given up at the deadline, and a late answer connects to nothing", async () => {
    const one = receiver();
    const late: (() => void)[] = [];
    const lookup: Lookup = (_hostname, done) => late.push(() => done([{ address: "127.0.0.1", family: 4 }]));
    const { send } = sender(true, lookup);
    const outcome = await send(attempt(`http://slow.test:${one.port}/`, { timeoutMs: 100 }));
    expect(outcome).toMatchObject({
      error: { kind: "timeout", message: expect.stringMatching(/before the request was sent/) },
    });
    for (const answerLate of late.splice(0)) answerLate();
    const again = send(attempt(`http://slow.test:${one.port}/`));
    for (const answerNow of late.splice(0)) answerNow();
    expect((await again).status).toBe(200);
    expect(one.connectionsSeen).toBe(1);
  });

  test("with addresses that do not answer is tried at its next one", async () => {
    const one = receiver();
    const { send } = sender(true, resolving("127.0.0.3", "127.0.0.1"));
    expect((await send(attempt(`http://two.test:${one.port}/`))).status).toBe(200);
  });
});
