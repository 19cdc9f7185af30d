// Where the sender connects to: the egress guard at work on real connections, names, and certificates.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Lookup } from "../../src/delivery/send.ts";
import { answer, type Program, type Receiver } from "../help/receiver.ts";
import {
  attempt,
  endAfterEachTest,
  receiver,
  resolving,
  runScript,
  SEND_MODULE,
  sender,
} from "../help/sending.ts";

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

  test("connects to the address it checked: the name is asked once for each connection", async () => {
    const one = receiver({ kind: "close_after_answer" });
    const rebinding = receiver(undefined, { hostname: "127.0.0.2", port: one.port });
    let turn = 0;
    const lookup: Lookup = (_hostname, done) =>
      done([{ address: turn++ === 0 ? "127.0.0.1" : "127.0.0.2", family: 4 }]);
    const { send } = sender(["127.0.0.1"], lookup);
    expect((await send(attempt(`http://rebinding.test:${one.port}/`))).status).toBe(200);
    await one.idle();
    expect((await send(attempt(`http://rebinding.test:${one.port}/`))).error?.kind).toBe("blocked_address");
    expect(turn).toBe(2);
    expect(rebinding.connectionsSeen).toBe(0);
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

const openssl = Bun.which("openssl");
if (openssl === null)
  console.warn("The TLS tests of the sender did not run: there is no openssl here to make certificates.");

describe.if(openssl !== null)("over TLS", () => {
  let directory = "";
  beforeAll(() => {
    directory = mkdtempSync(path.join(tmpdir(), "send-tls-"));
    makeCertificates(directory);
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  function tlsReceiver(program?: Program): Receiver {
    const read = (name: string) => readFileSync(path.join(directory, name), "utf8");
    return receiver(program, { tls: { cert: read("right.pem"), key: read("right.key") } });
  }

  /** In a process of its own, since whom to trust is read from the environment at a process's start. */
  async function outcomesFrom(hosts: string[], port: number, environment: Record<string, string>) {
    const script = `
      const { createSender } = await import(${JSON.stringify(SEND_MODULE)});
      const lookup = (_, done) => done([{ address: "127.0.0.1", family: 4 }]);
      const sender = createSender({ egress: { allowPrivate: true, allowed: [] }, userAgentVersion: "1", lookup });
      const event = { id: "1", type: "t", timestampMs: 0, data: "1" };
      const attempt = { timeoutMs: 30000, attemptNumber: 1, event, secretKeys: [new Uint8Array(32)] };
      const outcomes = [];
      for (const host of ${JSON.stringify(hosts)}) {
        outcomes.push(await sender.send({ ...attempt, url: "https://" + host + ":${port}/" }));
      }
      console.log(JSON.stringify(outcomes));`;
    return JSON.parse(await runScript(script, environment));
  }

  test("a certificate of the right name from a trusted CA is accepted, and its connection is used again", async () => {
    const one = tlsReceiver();
    const trust = { NODE_EXTRA_CA_CERTS: path.join(directory, "ca.pem") };
    const outcomes = await outcomesFrom(["right.test", "right.test", "RIGHT.test"], one.port, trust);
    expect(outcomes).toMatchObject(Array.from({ length: 3 }, () => ({ status: 200, error: null })));
    expect(one.received[0]?.header("host")).toBe(`right.test:${one.port}`);
    expect(one.connectionsSeen).toBe(1);
  });

  test("a certificate of another name is refused, and nothing is sent", async () => {
    const one = tlsReceiver();
    const trust = { NODE_EXTRA_CA_CERTS: path.join(directory, "ca.pem") };
    const outcomes = await outcomesFrom(["wrong.test", "127.0.0.1"], one.port, trust);
    expect(outcomes).toMatchObject(
      Array.from({ length: 2 }, () => ({ status: null, error: { kind: "tls_failed" } })),
    );
    expect(outcomes[0].error.message).toContain("ERR_TLS_CERT_ALTNAME_INVALID");
    expect(one.received).toEqual([]);
  });

  test("a certificate from an unknown CA is refused, also where the environment asks to accept all", async () => {
    const one = tlsReceiver();
    for (const environment of [{}, { NODE_TLS_REJECT_UNAUTHORIZED: "0" }]) {
      const outcomes = await outcomesFrom(["right.test"], one.port, environment);
      expect(outcomes).toMatchObject([{ status: null, error: { kind: "tls_failed" } }]);
    }
    expect(one.received).toEqual([]);
  });

  test("a connection that was kept and is closed under a request makes it go out again", async () => {
    const one = tlsReceiver(() => (one.received.length === 2 ? { kind: "hang_up" } : answer()));
    const trust = { NODE_EXTRA_CA_CERTS: path.join(directory, "ca.pem") };
    const outcomes = await outcomesFrom(["right.test", "right.test"], one.port, trust);
    expect(outcomes).toMatchObject(Array.from({ length: 2 }, () => ({ status: 200, error: null })));
    expect(one.received.map(({ connection }) => connection)).toEqual([1, 1, 2]);
  });

  test("a proxy named in the environment does not get the request, since it would choose the address", async () => {
    const [one, proxy] = [tlsReceiver(), receiver()];
    const environment = {
      NODE_EXTRA_CA_CERTS: path.join(directory, "ca.pem"),
      HTTPS_PROXY: proxy.url,
      HTTP_PROXY: proxy.url,
      ALL_PROXY: proxy.url,
      NODE_USE_ENV_PROXY: "1",
    };
    expect(await outcomesFrom(["right.test"], one.port, environment)).toMatchObject([{ status: 200 }]);
    expect(proxy.connectionsSeen).toBe(0);
  });
});

/** ca.pem, and right.pem with right.key for the name right.test. */
function makeCertificates(directory: string): void {
  const run = (command: string) => {
    const { exitCode, stderr } = Bun.spawnSync([openssl ?? "openssl", ...command.split(" ")], {
      cwd: directory,
    });
    if (exitCode !== 0) throw new Error(`openssl ${command}: ${stderr}`);
  };
  writeFileSync(path.join(directory, "extensions"), "subjectAltName=DNS:right.test");
  const newKey = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
  run(`req -x509 ${newKey} -keyout ca.key -out ca.pem -subj /CN=TestCA -days 2`);
  run(`req ${newKey} -keyout right.key -out right.csr -subj /CN=right.test`);
  run(
    "x509 -req -in right.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out right.pem -days 2 -extfile extensions",
  );
}
