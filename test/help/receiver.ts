// A webhook receiver for tests: a real HTTP/1.1 server on 127.0.0.1 that records every request and answers, or
// misbehaves, as its paths were told. It writes bytes to sockets itself, since no HTTP library would lie about a length,
// drip a header or reset. Waiting is by signal: next(), waitFor(), idle(); nothing here sleeps. It reads bodies by
// content-length only, which is how the product sends. At the end: the certificates that it shows over TLS.

import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { isIP } from "node:net";
import type { Socket, TLSOptions } from "bun";

export interface Received {
  method: string;
  /** With its query. */
  path: string;
  /** In the order and spelling of the wire. */
  rawHeaders: readonly (readonly [name: string, value: string])[];
  /** A header's value by its name in any case; null when absent. */
  header(name: string): string | null;
  body: string;
  receivedAtMs: number;
  /** Which connection it came on, counted from 1: equal numbers mean that a connection was reused. */
  connection: number;
  /** The name that the client asked for in the TLS handshake (SNI); null when it named none. */
  servername: string | null;
}

/** What a path does with a request. Drips send a byte each 5 ms, for ever. */
export type Behavior =
  | {
      kind: "answer";
      status: number;
      headers: Readonly<Record<string, string>>;
      body: string | Uint8Array;
      delayMs: number;
    }
  | { kind: "close_after_answer" } // 200, and the connection is closed without a word about it
  | { kind: "reset" } // RST
  | { kind: "hang_up" } // FIN, before any byte
  | { kind: "hang" }
  | { kind: "drip_headers" }
  | { kind: "drip_body"; status: number }
  | { kind: "endless_body"; status: number }
  | { kind: "endless"; start: string; rest: string } // `start` once, and then `rest` for ever
  | { kind: "raw"; bytes: string; thenEnd: boolean };

export type Program = Behavior | ((received: Received) => Behavior);

export interface ReceiverOptions {
  /**
   * What happens to a connection before it says anything: served, left hanging, or reset. "unread" reads nothing and
   * "unread_body" nothing after the first bytes: then a large request cannot even be written to its end.
   */
  onConnect?: "serve" | "hang" | "reset" | "unread" | "unread_body";
  /** 127.0.0.1 unless told; any 127.x.y.z is a machine of its own. */
  hostname?: string;
  port?: number;
  tls?: TLSOptions;
}

/** An answer of any status; 200 and "ok" unless told. `delayMs` makes it a slow one. */
export function answer(
  status = 200,
  {
    headers = {},
    body = "ok",
    delayMs = 0,
  }: { headers?: Record<string, string>; body?: string | Uint8Array; delayMs?: number } = {},
): Behavior {
  return { kind: "answer", status, headers, body, delayMs };
}

export function redirectTo(location: string, status = 302): Behavior {
  return answer(status, { headers: { location }, body: "" });
}

/** Exactly these bytes, and then the connection's end, or silence. */
export function raw(bytes: string, thenEnd = true): Behavior {
  return { kind: "raw", bytes, thenEnd };
}

/** Promises more body than it sends, and closes. */
export const shortBody: Behavior = raw("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nshort");

/** 16 MB of zeros in 16 KB of gzip. */
export function gzipBomb(): Behavior {
  return answer(200, {
    headers: { "content-encoding": "gzip" },
    body: Bun.gzipSync(new Uint8Array(16 << 20)),
  });
}

/** One behaviour after another; the last one stays. */
export function inTurn(...behaviors: readonly [Behavior, ...Behavior[]]): Program {
  let turn = 0;
  return () => behaviors[Math.min(turn++, behaviors.length - 1)] ?? behaviors[0];
}

/** A URL on 127.0.0.1 where nobody listens (any more). */
export function refusingUrl(): string {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  listener.stop(true);
  return `http://127.0.0.1:${listener.port}/`;
}

/** Starts a receiver that answers 200 to everything until told otherwise with `on`. */
export function startReceiver(options: ReceiverOptions = {}): Receiver {
  return new Receiver(options);
}

const OK_BYTES = Buffer.from("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
const ENDLESS_CHUNK_BYTES = 16 * 1024;
const DRIP_MS = 5;
const HEAD_END = "\r\n\r\n";

interface Connection {
  number: number;
  /** Bytes of a request that is not complete yet. */
  unread: Buffer;
  /** What the socket did not take yet. */
  unsent: Buffer[];
  /** What is sent again and again when nothing else is left to send. */
  endless: Buffer | null;
  endsWhenSent: boolean;
  /** Of a drip or of a slow answer. */
  timer: ReturnType<typeof setTimeout> | undefined;
}

type Peer = Socket<Connection>;
type Waiter = { isDone: () => boolean; resolve: () => void; reject: (error: Error) => void };

export class Receiver {
  /** Every request, in order. */
  readonly received: Received[] = [];
  /** Connections accepted since the start. */
  connectionsSeen = 0;
  readonly #programs = new Map<string, Program>();
  readonly #open = new Set<Peer>();
  readonly #waiters = new Set<Waiter>();
  readonly #listener: Bun.TCPSocketListener<Connection>;
  #options: ReceiverOptions;
  #taken = 0;

  constructor(options: ReceiverOptions) {
    this.#options = options;
    const { hostname = "127.0.0.1", port = 0, tls } = options;
    this.#listener = Bun.listen<Connection>({
      hostname,
      port,
      ...(tls === undefined ? {} : { tls }),
      socket: {
        open: (socket) => this.#accept(socket),
        data: (socket, bytes) => this.#receive(socket, bytes),
        drain: (socket) => flush(socket),
        close: (socket) => this.#forget(socket),
        error: (socket) => this.#forget(socket),
      },
    });
  }

  get port(): number {
    return this.#listener.port;
  }

  /** `http://127.0.0.1:PORT`, without a slash at its end. */
  get url(): string {
    const scheme = this.#options.tls === undefined ? "http" : "https";
    return `${scheme}://${this.#options.hostname ?? "127.0.0.1"}:${this.port}`;
  }

  get connectionsOpen(): number {
    return this.#open.size;
  }

  /** Tells what a path (without its query) does from now on; "*" is for all paths not named. */
  on(path: string, program: Program): this {
    this.#programs.set(path, program);
    return this;
  }

  /** The earliest request that no next() has given out yet, now or when it comes. */
  async next(): Promise<Received> {
    const index = this.#taken++;
    await this.#until(() => this.received.length > index);
    return this.received[index] as Received;
  }

  /** The first `count` requests since the start, once they are there. */
  async waitFor(count: number): Promise<Received[]> {
    await this.#until(() => this.received.length >= count);
    return this.received.slice(0, count);
  }

  /** When exactly `count` connections are open (none, unless told). */
  idle(count = 0): Promise<void> {
    return this.#until(() => this.#open.size === count);
  }

  /** When `count` connections have been accepted since the start. */
  accepted(count: number): Promise<void> {
    return this.#until(() => this.connectionsSeen >= count);
  }

  /** Closes what is open, as a server does that shuts its idle connections. */
  hangUp(): void {
    for (const socket of this.#open) socket.end();
  }

  /** Reads what was left unread, for a socket that does not read does not hear of its end either. */
  readOn(): void {
    this.#options = { ...this.#options, onConnect: "hang" };
    for (const socket of this.#open) socket.resume();
  }

  /** Closes everything; whoever still waits is told. May be called twice. */
  stop(): void {
    this.#listener.stop(true);
    for (const waiter of this.#waiters) waiter.reject(new Error("the receiver was stopped"));
    this.#waiters.clear();
  }

  #until(isDone: () => boolean): Promise<void> {
    if (isDone()) return Promise.resolve();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiters.add({ isDone, resolve, reject });
    return promise;
  }

  #signal(): void {
    for (const waiter of this.#waiters) {
      if (!waiter.isDone()) continue;
      this.#waiters.delete(waiter);
      waiter.resolve();
    }
  }

  #accept(socket: Peer): void {
    this.connectionsSeen++;
    socket.data = {
      number: this.connectionsSeen,
      unread: Buffer.alloc(0),
      unsent: [],
      endless: null,
      endsWhenSent: false,
      timer: undefined,
    };
    this.#open.add(socket);
    if (this.#options.onConnect === "reset") socket.terminate();
    if (this.#options.onConnect === "unread") socket.pause();
    this.#signal();
  }

  #forget(socket: Peer): void {
    clearTimeout(socket.data?.timer);
    this.#open.delete(socket);
    this.#signal();
  }

  #receive(socket: Peer, bytes: Buffer): void {
    const { onConnect } = this.#options;
    if (onConnect === "unread_body") socket.pause();
    if (onConnect !== undefined && onConnect !== "serve") return;
    const connection = socket.data;
    connection.unread =
      connection.unread.length === 0 ? Buffer.from(bytes) : Buffer.concat([connection.unread, bytes]);
    for (;;) {
      const parsed = parseRequest(connection, servernameOf(socket));
      if (parsed === null) return;
      this.received.push(parsed);
      this.#behave(socket, parsed);
      this.#signal();
    }
  }

  #behave(socket: Peer, received: Received): void {
    const [path = ""] = received.path.split("?", 1);
    const program = this.#programs.get(path) ?? this.#programs.get("*");
    if (program === undefined) send(socket, OK_BYTES);
    else perform(socket, typeof program === "function" ? program(received) : program);
  }
}

/** Takes one complete request off the connection's bytes; null when there is none yet. */
function parseRequest(connection: Connection, servername: string | null): Received | null {
  const { unread } = connection;
  const headLength = unread.indexOf(HEAD_END);
  if (headLength === -1) return null;
  const [requestLine = "", ...lines] = unread.toString("latin1", 0, headLength).split("\r\n");
  const [method = "", path = ""] = requestLine.split(" ");
  const rawHeaders = lines.map(splitHeader);
  const header = (name: string) => findHeader(rawHeaders, name);
  const bodyStart = headLength + HEAD_END.length;
  const bodyEnd = bodyStart + Number(header("content-length") ?? 0);
  if (unread.length < bodyEnd) return null;
  connection.unread = unread.subarray(bodyEnd);
  const body = unread.toString("utf8", bodyStart, bodyEnd);
  const { number } = connection;
  return { method, path, rawHeaders, header, body, receivedAtMs: Date.now(), connection: number, servername };
}

/** Bun's types say that it is always a text; it is undefined without TLS and without SNI. */
function servernameOf(socket: Peer): string | null {
  const name: string | undefined = socket.getServername();
  return name ?? null;
}

function splitHeader(line: string): [string, string] {
  const colon = line.indexOf(":");
  return [line.slice(0, colon), line.slice(colon + 1).trim()];
}

function findHeader(rawHeaders: Received["rawHeaders"], name: string): string | null {
  const wanted = name.toLowerCase();
  return rawHeaders.find(([candidate]) => candidate.toLowerCase() === wanted)?.[1] ?? null;
}

function perform(socket: Peer, behavior: Behavior): void {
  switch (behavior.kind) {
    case "answer":
      answerWhenDue(socket, behavior);
      break;
    case "close_after_answer":
      socket.data.endsWhenSent = true;
      send(socket, OK_BYTES);
      break;
    case "reset":
      socket.terminate();
      break;
    case "hang_up":
      socket.end();
      break;
    case "hang":
      break;
    case "drip_headers":
      drip(socket, "HTTP/1.1 200 OK\r\nx-drip: ");
      break;
    case "drip_body":
      drip(socket, `HTTP/1.1 ${behavior.status} Drip\r\ncontent-length: 1000000\r\n\r\n`);
      break;
    case "endless_body":
      sendEndlessly(socket, `HTTP/1.1 ${behavior.status} Endless\r\n\r\n`, "y");
      break;
    case "endless":
      sendEndlessly(socket, behavior.start, behavior.rest);
      break;
    case "raw":
      socket.data.endsWhenSent = behavior.thenEnd;
      send(socket, Buffer.from(behavior.bytes, "latin1"));
  }
}

function answerWhenDue(socket: Peer, behavior: Extract<Behavior, { kind: "answer" }>): void {
  if (behavior.delayMs === 0) send(socket, answerBytes(behavior));
  else socket.data.timer = setTimeout(() => send(socket, answerBytes(behavior)), behavior.delayMs);
}

function answerBytes({ status, headers, body }: Extract<Behavior, { kind: "answer" }>): Buffer {
  const bytes = Buffer.from(body as string);
  const lines = Object.entries({ "content-length": String(bytes.length), ...headers });
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  return Buffer.concat([Buffer.from(`HTTP/1.1 ${status} Status\r\n${head}\r\n`, "latin1"), bytes]);
}

function drip(socket: Peer, head: string): void {
  send(socket, Buffer.from(head));
  socket.data.timer = setInterval(() => socket.write("d"), DRIP_MS);
}

function sendEndlessly(socket: Peer, start: string, rest: string): void {
  socket.data.endless = Buffer.from(rest.repeat(Math.ceil(ENDLESS_CHUNK_BYTES / rest.length)), "latin1");
  send(socket, Buffer.from(start, "latin1"));
}

function send(socket: Peer, bytes: Buffer): void {
  socket.data.unsent.push(bytes);
  flush(socket);
}

/** Writes until the socket takes no more; `drain` calls again. */
function flush(socket: Peer): void {
  const { data } = socket;
  if (data === undefined) return;
  for (;;) {
    if (data.unsent.length === 0 && data.endless !== null) data.unsent.push(data.endless);
    const [first] = data.unsent;
    if (first === undefined) break;
    const written = socket.write(first);
    if (written < first.length) {
      if (written > 0) data.unsent[0] = first.subarray(written);
      return;
    }
    data.unsent.shift();
  }
  if (data.endsWhenSent) socket.end();
}

export interface CertificateOptions {
  /** Names and IPv4 addresses that it is good for; the first is its subject. */
  names: readonly [string, ...string[]];
  /** When its validity begins and ends; a day ago and in a day unless told. */
  validFromMs?: number;
  validUntilMs?: number;
}

/** Certificate and key as Bun.listen takes them. */
export type Certified = { cert: string; key: string };
type Issuer = { subject: string; key: KeyObject };

/** An authority of its own for a test: nobody trusts it but who is given `pem`. It takes no openssl on the machine. */
export function createAuthority() {
  const { publicKey, privateKey: key } = newKeys();
  const [subject] = CA_NAMES;
  const pem = certificatePem({ names: CA_NAMES }, publicKey, { subject, key }, IS_CA);
  return { pem, issue: (options: CertificateOptions) => certified(options, { subject, key }) };
}

/** A certificate that vouches for itself, or one that the issuer vouches for. */
export function certified(options: CertificateOptions, issuer?: Issuer): Certified {
  const { names } = options;
  const { publicKey, privateKey } = newKeys();
  const signer = issuer ?? { subject: names[0], key: privateKey };
  const cert = certificatePem(options, publicKey, signer, alternativeNames(names));
  return { cert, key: privateKey.export({ type: "pkcs8", format: "pem" }).toString() };
}

const DAY_MS = 86_400_000;
const CA_NAMES = ["Test CA"] as const;
const newKeys = () => generateKeyPairSync("ec", { namedCurve: "P-256" });

/** X.509 version 3 in DER (RFC 5280, section 4.1). */
function certificatePem(options: CertificateOptions, key: KeyObject, issuer: Issuer, extension: Buffer) {
  const { names, validFromMs = Date.now() - DAY_MS, validUntilMs = Date.now() + DAY_MS } = options;
  const signed = sequence(
    der(0xa0, der(0x02, [2])),
    der(0x02, [1], randomBytes(8)),
    ECDSA_WITH_SHA256,
    distinguishedName(issuer.subject),
    sequence(derTime(validFromMs), derTime(validUntilMs)),
    distinguishedName(names[0]),
    key.export({ type: "spki", format: "der" }),
    der(0xa3, sequence(extension)),
  );
  const whole = sequence(signed, ECDSA_WITH_SHA256, der(0x03, [0], sign("sha256", signed, issuer.key)));
  const lines = whole.toString("base64").replace(/.{64}/g, "$&\n");
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
}

/** Tag, length, content. */
function der(tag: number, ...parts: readonly (Uint8Array | readonly number[])[]): Buffer {
  const content = Buffer.concat(parts.map((part) => Uint8Array.from(part)));
  const { length } = content;
  const longLength = length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Uint8Array.of(tag, ...(length < 0x80 ? [length] : longLength)), content]);
}

function sequence(...parts: readonly Uint8Array[]): Buffer {
  return der(0x30, ...parts);
}

function objectId(hex: string): Buffer {
  return der(0x06, Buffer.from(hex, "hex"));
}

/** UTCTime, with two digits of the year: RFC 5280 wants it until 2049. */
function derTime(ms: number): Buffer {
  return der(
    0x17,
    Buffer.from(
      new Date(ms)
        .toISOString()
        .slice(2)
        .replace(/[-:T]|\.\d+/g, ""),
    ),
  );
}

function distinguishedName(name: string): Buffer {
  return sequence(der(0x31, sequence(objectId("550403"), der(0x0c, Buffer.from(name)))));
}

function alternativeNames(names: readonly string[]): Buffer {
  const general = names.map((name) =>
    isIP(name) === 4 ? der(0x87, name.split(".").map(Number)) : der(0x82, Buffer.from(name)),
  );
  return sequence(objectId("551d11"), der(0x04, sequence(...general)));
}

const ECDSA_WITH_SHA256 = sequence(objectId("2a8648ce3d040302"));
const IS_CA = sequence(objectId("551d13"), der(0x01, [0xff]), der(0x04, sequence(der(0x01, [0xff]))));
