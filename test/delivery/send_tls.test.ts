// Whom the sender trusts over TLS. Each attempt is made in a process of its own, since the authorities to trust are read
// from the environment at a process's start; the certificates are made here.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { AttemptOutcome } from "../../src/webhook/verdict.ts";
import {
  answer,
  type Certified,
  certified,
  createAuthority,
  type Program,
  type Receiver,
  raw,
} from "../help/receiver.ts";
import { endAfterEachTest, receiver, runScript, SEND_MODULE } from "../help/sending.ts";

endAfterEachTest();

const HOUR_MS = 3_600_000;
const authority = createAuthority();
const right = authority.issue({ names: ["right.test", "127.0.0.1"] });
const directory = mkdtempSync(path.join(tmpdir(), "send-tls-"));
const TRUST = { NODE_EXTRA_CA_CERTS: path.join(directory, "ca.pem") };
beforeAll(() => writeFileSync(TRUST.NODE_EXTRA_CA_CERTS, authority.pem));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function tlsReceiver(tls: Certified, program?: Program): Receiver {
  return receiver(program, { tls });
}

/** One attempt after the other with one sender, which resolves each name to 127.0.0.1. */
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
  return JSON.parse(await runScript(script, environment)) as AttemptOutcome[];
}

const delivered = (count: number) => Array.from({ length: count }, () => ({ status: 200, error: null }));

describe("a certificate", () => {
  test("of the right name from a trusted authority is accepted, and its connection is used again", async () => {
    const one = tlsReceiver(right);
    const outcomes = await outcomesFrom(["right.test", "right.test", "RIGHT.test"], one.port, TRUST);
    expect(outcomes).toMatchObject(delivered(3));
    expect(one.connectionsSeen).toBe(1);
  });

  test("is asked for by the URL's name, which the Host header repeats; an address is named in no handshake", async () => {
    const one = tlsReceiver(right);
    expect(await outcomesFrom(["right.test", "127.0.0.1"], one.port, TRUST)).toMatchObject(delivered(2));
    expect(one.received.map(({ servername, header }) => [servername, header("host")])).toEqual([
      ["right.test", `right.test:${one.port}`],
      [null, `127.0.0.1:${one.port}`],
    ]);
  });

  const refused: [what: string, shown: Certified, code: string][] = [
    ["of another name", authority.issue({ names: ["wrong.test"] }), "ERR_TLS_CERT_ALTNAME_INVALID"],
    ["of a name below", authority.issue({ names: ["a.right.test"] }), "ERR_TLS_CERT_ALTNAME_INVALID"],
    [
      "that has expired",
      authority.issue({ names: ["right.test"], validUntilMs: Date.now() - HOUR_MS }),
      "CERT_HAS_EXPIRED",
    ],
    [
      "that is not valid yet",
      authority.issue({ names: ["right.test"], validFromMs: Date.now() + HOUR_MS }),
      "CERT_NOT_YET_VALID",
    ],
    ["that vouches for itself", certified({ names: ["right.test"] }), "DEPTH_ZERO_SELF_SIGNED_CERT"],
    [
      "from an authority that only has the trusted one's name",
      createAuthority().issue({ names: ["right.test"] }),
      "CERT_SIGNATURE_FAILURE",
    ],
  ];
  test.each(refused)(
    "%s is refused, also where the environment asks to accept all",
    async (_what, shown, code) => {
      const one = tlsReceiver(shown);
      for (const environment of [TRUST, { ...TRUST, NODE_TLS_REJECT_UNAUTHORIZED: "0" }]) {
        const [outcome] = await outcomesFrom(["right.test"], one.port, environment);
        expect(outcome).toMatchObject({ status: null, error: { kind: "tls_failed" } });
        expect(outcome?.error?.message).toContain(code);
      }
      expect(one.received).toEqual([]);
    },
  );

  test("from an authority that nobody named is refused, also where the environment asks to accept all", async () => {
    const one = tlsReceiver(right);
    for (const environment of [{}, { NODE_TLS_REJECT_UNAUTHORIZED: "0" }]) {
      const outcomes = await outcomesFrom(["right.test"], one.port, environment);
      expect(outcomes).toMatchObject([{ status: null, error: { kind: "tls_failed" } }]);
    }
    expect(one.received).toEqual([]);
  });
});

describe("over TLS", () => {
  test("a connection that was kept and is closed under a request makes it go out again", async () => {
    const one = tlsReceiver(right, () => (one.received.length === 2 ? { kind: "hang_up" } : answer()));
    expect(await outcomesFrom(["right.test", "right.test"], one.port, TRUST)).toMatchObject(delivered(2));
    expect(one.received.map(({ connection }) => connection)).toEqual([1, 1, 2]);
  });

  test("an answer without end is read no further than without TLS", async () => {
    const one = tlsReceiver(right, () =>
      one.received.length === 1
        ? { kind: "endless", start: "", rest: "\r\n" }
        : raw(`HTTP/1.1 200 OK\r\n\r\n${"x".repeat(65_537)}`, false),
    );
    expect(await outcomesFrom(["right.test", "right.test"], one.port, TRUST)).toMatchObject([
      { status: null, error: { kind: "bad_response" } },
      { status: 200, error: null },
    ]);
  });

  test("a proxy named in the environment does not get the request, since it would choose the address", async () => {
    const [one, proxy] = [tlsReceiver(right), receiver()];
    const environment = {
      ...TRUST,
      HTTPS_PROXY: proxy.url,
      HTTP_PROXY: proxy.url,
      ALL_PROXY: proxy.url,
      NODE_USE_ENV_PROXY: "1",
    };
    expect(await outcomesFrom(["right.test"], one.port, environment)).toMatchObject(delivered(1));
    expect(proxy.connectionsSeen).toBe(0);
  });
});
