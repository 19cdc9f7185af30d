// Bytes as they are, to a server: what a client may send that no HTTP library would.

import net from "node:net";

export type Talk = {
  /** Everything that came back, as Latin-1. */
  readonly text: string;
  /** The statuses of the answers, in their order. */
  readonly statuses: readonly number[];
  /** Who ended the connection: the server, or this side when it had seen what it waited for. */
  readonly endedBy: "server" | "client";
};

export type TalkOptions = {
  /** This side ends the connection as soon as this has come back. */
  readonly until?: RegExp;
  /** This side says at once that it sends no more. */
  readonly halfClose?: boolean;
  /** Each is written when the one before has gone out and the loop has turned, in a packet of its own. */
  readonly pieces?: boolean;
};

/** Sends, and resolves when the server closes or `until` has come back. */
export function talk(
  { url }: { readonly url: string },
  bytes: string | readonly (string | Uint8Array)[],
  { until, halfClose = false, pieces = false }: TalkOptions = {},
): Promise<Talk> {
  const { promise, resolve } = Promise.withResolvers<Talk>();
  const { hostname, port } = new URL(url);
  let text = "";
  let endedBy: Talk["endedBy"] = "server";
  const socket = net.connect({ host: hostname, port: Number(port), noDelay: true, allowHalfOpen: true });
  socket.on("data", (chunk) => {
    text += chunk.toString("latin1");
    if (until === undefined || !until.test(text)) return;
    endedBy = "client";
    socket.destroy();
  });
  socket.on("end", () => socket.destroy());
  // A reset is an end like any other.
  socket.on("error", () => {});
  socket.on("close", () => resolve({ text, statuses: statusesOf(text), endedBy }));
  const parts = typeof bytes === "string" ? [bytes] : bytes;
  void write(socket, parts, pieces).then(() => halfClose && socket.end());
  return promise;
}

async function write(socket: net.Socket, parts: readonly (string | Uint8Array)[], pieces: boolean) {
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  for (const part of parts) {
    const buffer = typeof part === "string" ? Buffer.from(part, "latin1") : part;
    const written = new Promise<void>((resolve) => socket.write(buffer, () => resolve()));
    await Promise.race([written, closed]);
    if (pieces) await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Connects and sends, and lets go with a reset in place of an end. */
export function sendAndReset({ url }: { readonly url: string }, bytes: string): Promise<void> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const socket = net.connect({ host: hostname, port: Number(port) });
    socket.on("error", () => {});
    socket.on("close", () => resolve());
    socket.write(bytes, "latin1", () => socket.resetAndDestroy());
  });
}

const DRIP_MS = 1_000;

/** Sends `start` and then a byte each second; resolves with what came back when the server has had enough. */
export function drip({ url }: { readonly url: string }, start: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    let text = "";
    const socket = net.connect({ host: hostname, port: Number(port), noDelay: true });
    socket.write(start, "latin1");
    const timer = setInterval(() => socket.write("a"), DRIP_MS);
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      clearInterval(timer);
      resolve(text);
    });
  });
}

function statusesOf(text: string): number[] {
  return [...text.matchAll(/(?:^|\r\n\r\n|[}\]])HTTP\/1\.1 (\d{3})/g)].map(([, status]) => Number(status));
}
