// What the tests of the sender share: senders and receivers that end with their test, an attempt to send, a resolver of
// our own, and scripts in a process of their own for what is decided at a process's start.
import { afterEach } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import type { Lookup } from "../../src/delivery/resolve.ts";
import { type Attempt, createSender, type Sender } from "../../src/delivery/send.ts";
import { type Egress, parseEgress } from "../../src/webhook/guard.ts";
import { type Program, type Receiver, type ReceiverOptions, startReceiver } from "./receiver.ts";

export const KEY = new Uint8Array(32).fill(9);
export const EVENT = {
  id: "0197a1b2-0000-7000-8000-000000000001",
  type: "order.created",
  timestampMs: 0,
  data: "{}",
};
/** For scripts: what they import. */
export const SEND_MODULE = path.resolve(import.meta.dir, "../../src/delivery/send.ts");

const started: { receivers: Receiver[]; senders: Sender[] } = { receivers: [], senders: [] };

/** Call it once in a test file: what its tests start is ended after each, so that no test hears of another. */
export function endAfterEachTest(): void {
  afterEach(() => {
    for (const sender of started.senders.splice(0)) sender.close();
    for (const one of started.receivers.splice(0)) one.stop();
  });
}

/** A receiver whose every path runs `program`; 200 unless told. */
export function receiver(program?: Program, options?: ReceiverOptions): Receiver {
  const one = startReceiver(options);
  if (program !== undefined) one.on("*", program);
  started.receivers.push(one);
  return one;
}

/** A sender for a value of WEBHOOK_ALLOW_PRIVATE; everything is open unless told. */
export function sender(setting: true | string[] = true, lookup?: Lookup): Sender {
  const options = { egress: egressOf(setting), userAgentVersion: "1.2.3" };
  const one = createSender(lookup === undefined ? options : { ...options, lookup });
  started.senders.push(one);
  return one;
}

function egressOf(setting: true | string[]): Egress {
  const parsed = parseEgress(setting);
  if (!parsed.ok) throw new Error(parsed.detail);
  return parsed.egress;
}

/** The long deadline is never reached where an answer comes; a test that expects a timeout gives a short one. */
export function attempt(url: string, rest: Partial<Attempt> = {}): Attempt {
  return { url, timeoutMs: 30_000, attemptNumber: 1, event: EVENT, secretKeys: [KEY], ...rest };
}

/** A resolver that answers every name with these addresses, and counts how often it was asked. */
export function resolving(...addresses: string[]): Lookup & { asked: string[] } {
  const asked: string[] = [];
  const lookup: Lookup = (hostname, done) => {
    asked.push(hostname);
    done(addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 })));
  };
  return Object.assign(lookup, { asked });
}

/** Runs a script in a Bun of its own and gives what it printed; fails when it does not end well. */
export async function runScript(script: string, environment: Record<string, string> = {}): Promise<string> {
  const file = path.join(mkdtempSync(path.join(tmpdir(), "send-script-")), "script.ts");
  writeFileSync(file, script);
  const child = Bun.spawn([process.execPath, file], {
    env: { PATH: process.env.PATH ?? "", HOME: tmpdir(), ...environment },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [output, errors, exitCode] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  rmSync(path.dirname(file), { recursive: true, force: true });
  if (exitCode !== 0) throw new Error(`exit code ${exitCode}: ${errors}`);
  return output;
}
