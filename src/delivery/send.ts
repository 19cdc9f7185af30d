// One attempt: writes the request, reads as much of the answer as matters, and says what happened. It never throws and
// never decides what comes next (src/webhook/verdict.ts does). Two surprises: a name is checked where it is resolved, so
// the address that was checked is the one connected to, whatever DNS says a moment later; and an idle connection that
// the receiver closed while our request was on its way is no failure of the endpoint, so that request is sent again.
import type { LookupAddress } from "node:dns";
import { lookup as systemLookup } from "node:dns/promises";
import http from "node:http";
import https from "node:https";
import type { LookupFunction, Socket } from "node:net";
import { blockedDetail, checkAddress, checkUrl, type Egress } from "../webhook/guard.ts";
import { type WebhookEvent, webhookBody, webhookHeaders } from "../webhook/request.ts";
import { signatureHeader } from "../webhook/sign.ts";
import type { AttemptErrorKind, AttemptOutcome } from "../webhook/verdict.ts";

const ANSWER_BYTES_MAX = 64 * 1024;
const EXCERPT_BYTES_MAX = 1024;

/** Shorter than the 60-75 s of common servers and load balancers, so that mostly it is we who close an idle connection. */
const IDLE_CONNECTION_MS = 30_000;

/** When DNS has not answered by then, the system is asked as well. */
const DNS_PATIENCE_MS = 2000;
/** Whoever still waits for the system's turn after this long goes without. */
const RESOLVE_MS_MAX = 30_000;

export interface Attempt {
  url: string;
  /** One deadline over name, connection, handshake, headers and body. */
  timeoutMs: number;
  /** 1 for the first try. */
  attemptNumber: number;
  event: WebhookEvent;
  /** At least one; during a secret's overlap the old one too. */
  secretKeys: readonly Uint8Array[];
  extraHeaders?: Readonly<Record<string, string>>;
}

/** Resolves a name to all its addresses; to none when there are none or nobody can be asked. */
export type Lookup = (hostname: string, done: (addresses: readonly LookupAddress[]) => void) => void;

export interface SenderOptions {
  egress: Egress;
  userAgentVersion: string;
  /** DNS and the system, unless a test brings its own names. */
  lookup?: Lookup;
}

export interface Sender {
  /** Sends one signed attempt; resolves with what happened, at the latest when `timeoutMs` is over. Never rejects. */
  send(attempt: Attempt): Promise<AttemptOutcome>;
  /** Drops idle connections; attempts in flight, and any later one, end as `cancelled`. May be called twice. */
  close(): void;
}

type Protocol = "http:" | "https:";
type AttemptError = NonNullable<AttemptOutcome["error"]>;
type Result = Omit<AttemptOutcome, "startedAtMs" | "durationMs">;
type Cancel = () => void;

interface Agents {
  /** Keeps connections and hands them out again. */
  pooled: http.Agent;
  /** A new connection for each request, for the second try after a stale one. */
  fresh: http.Agent;
}

interface Target {
  protocol: Protocol;
  host: string;
  options: http.RequestOptions;
  /** Text and not bytes: node:http then writes it with the headers, in one system call instead of two. */
  body: string;
  timeoutMs: number;
  agents: Agents;
}

/** A sender with its own pool of connections. */
export function createSender(options: SenderOptions): Sender {
  const lookup = options.lookup ?? createResolver();
  const agents = {
    "http:": createAgents("http:", options, lookup),
    "https:": createAgents("https:", options, lookup),
  };
  const inFlight = new Set<Cancel>();
  let closed = false;

  async function send(attempt: Attempt): Promise<AttemptOutcome> {
    const startedAtMs = Date.now();
    const startedTick = performance.now();
    const result = closed ? failed("cancelled") : await attemptOnce(attempt, startedAtMs);
    return { startedAtMs, durationMs: Math.round(performance.now() - startedTick), ...result };
  }

  function attemptOnce(attempt: Attempt, startedAtMs: number): Promise<Result> | Result {
    const checked = checkUrl(attempt.url, options.egress);
    if (!checked.ok) {
      const isMalformed = checked.code === "invalid_url" || checked.code === "url_credentials";
      return failed(isMalformed ? "invalid_request" : "blocked_address", checked.detail);
    }
    const protocol: Protocol = checked.url.protocol === "http:" ? "http:" : "https:";
    const request = prepare(attempt, checked.url, options.userAgentVersion, startedAtMs);
    return exchange(
      { ...request, protocol, timeoutMs: attempt.timeoutMs, agents: agents[protocol] },
      inFlight,
    );
  }

  function close(): void {
    closed = true;
    for (const cancel of [...inFlight]) cancel();
    for (const { pooled, fresh } of Object.values(agents)) {
      pooled.destroy();
      fresh.destroy();
    }
  }

  return { send, close };
}

function createAgents(protocol: Protocol, { egress }: SenderOptions, lookup: Lookup): Agents {
  // rejectUnauthorized is said aloud, or NODE_TLS_REJECT_UNAUTHORIZED=0 in the environment would turn it off.
  const shared = { lookup: guardedLookup(lookup, egress, protocol), rejectUnauthorized: true };
  const kept = {
    ...shared,
    keepAlive: true,
    keepAliveMsecs: IDLE_CONNECTION_MS,
    timeout: IDLE_CONNECTION_MS,
  };
  return protocol === "https:"
    ? { pooled: new https.Agent(kept), fresh: new https.Agent(shared) }
    : { pooled: new http.Agent(kept), fresh: new http.Agent(shared) };
}

/**
 * Names are asked of DNS itself (Bun's c-ares), and of the system only after that: getaddrinfo blocks a thread of a pool
 * as small as the machine (2 here), which key hashing shares. Measured with a resolver that does not answer: two hung
 * names stopped every other name and every hash for 10 s; by this way the others took 3 ms. The system still has its
 * turn, one name at a time, for what DNS does not know (mDNS, NSS) or when it is silent: c-ares reads resolv.conf once in
 * a process's life, so after a change of network only the system knows whom to ask.
 */
function createResolver(): Lookup {
  const pending = new Map<string, Promise<readonly LookupAddress[]>>();
  let turn: Promise<readonly LookupAddress[]> = Promise.resolve([]);

  function askSystemInTurn(hostname: string, isOver: () => boolean): Promise<readonly LookupAddress[]> {
    turn = turn.then(() => (isOver() ? [] : systemLookup(hostname, { all: true }))).catch(() => []);
    return turn;
  }

  function resolveName(hostname: string): Promise<readonly LookupAddress[]> {
    const { promise, resolve } = Promise.withResolvers<readonly LookupAddress[]>();
    const startedTick = performance.now();
    let isResolved = false;
    let isSystemAsked = false;
    const isOver = () => isResolved || performance.now() - startedTick > RESOLVE_MS_MAX;
    const finish = (addresses: readonly LookupAddress[]) => {
      isResolved = true;
      clearTimeout(patience);
      resolve(addresses);
    };
    const askSystem = () => {
      if (isSystemAsked) return;
      isSystemAsked = true;
      askSystemInTurn(hostname, isOver).then(finish);
    };
    const patience = setTimeout(askSystem, DNS_PATIENCE_MS);
    Bun.dns.lookup(hostname).then(finish, askSystem);
    return promise.finally(() => pending.delete(hostname));
  }

  return (hostname, done) => {
    const asked = pending.get(hostname) ?? resolveName(hostname);
    pending.set(hostname, asked);
    asked.then((addresses) => done(addresses));
  };
}

/** Offers only the addresses that the guard lets through. It is not asked for literal addresses: checkUrl was. */
function guardedLookup(lookup: Lookup, egress: Egress, protocol: Protocol): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, (addresses) => {
      if (addresses.length === 0) return callback(new ResolveError("dns_failed"), []);
      const allowed = addresses.filter(({ address }) => checkAddress(address, egress, protocol));
      const [first] = allowed;
      if (first === undefined) return callback(new ResolveError("blocked_address"), []);
      if (options.all) return callback(null, allowed);
      callback(null, first.address, first.family);
    });
  };
}

class ResolveError extends Error {
  readonly kind: "dns_failed" | "blocked_address";
  constructor(kind: "dns_failed" | "blocked_address") {
    super(kind);
    this.kind = kind;
  }
}

function prepare(attempt: Attempt, url: URL, version: string, startedAtMs: number) {
  const { event, secretKeys, attemptNumber, extraHeaders } = attempt;
  const body = webhookBody(event);
  const timestampSeconds = Math.floor(startedAtMs / 1000);
  const signature = signatureHeader(secretKeys, event.id, timestampSeconds, body);
  const { id, type } = event;
  const signed = { id, type, attemptNumber, timestampSeconds, signature, version };
  const headers = webhookHeaders(extraHeaders === undefined ? signed : { ...signed, extra: extraHeaders });
  const host = url.hostname.startsWith("[") ? url.hostname.slice(1, -1) : url.hostname;
  const options: http.RequestOptions = {
    method: "POST",
    host,
    port: url.port,
    path: url.pathname + url.search,
    headers: { ...headers, "accept-encoding": "identity", "content-length": Buffer.byteLength(body) },
  };
  return { host, options, body };
}

/** Writes the request and settles exactly once: whole answer, enough of it, failure, deadline or cancellation. */
function exchange(target: Target, inFlight: Set<Cancel>): Promise<Result> {
  const { promise, resolve } = Promise.withResolvers<Result>();
  const answer = new Answer();
  let current: http.ClientRequest | null = null;
  let isSettled = false;

  function settle(error: AttemptError | null): void {
    if (isSettled) return;
    isSettled = true;
    clearTimeout(deadline);
    inFlight.delete(cancel);
    resolve(answer.result(error));
    // An answer read to its end has given its connection back; all others lose theirs, and whatever still comes on it.
    if (!answer.isWhole) current?.destroy();
  }

  function start(agent: http.Agent): void {
    const request = (target.protocol === "https:" ? https : http).request({ ...target.options, agent });
    current = request;
    let bytesReadBefore = 0;
    request.on("socket", (socket: Socket) => {
      bytesReadBefore = socket.bytesRead ?? 0;
    });
    request.on("response", (response) => answer.read(response, settle));
    request.on("upgrade", (_response, socket: Socket) => {
      socket.destroy();
      settle(problem("bad_response", "The endpoint switched protocols instead of answering."));
    });
    request.on("error", (error) => {
      // With an answer begun, its own end or close decides: surplus bytes after a whole answer are an error here too.
      if (isSettled || request !== current || answer.hasBegun) return;
      if (agent === target.agents.pooled && isStale(request, error, bytesReadBefore))
        return begin(target.agents.fresh);
      settle(problemOf(error, target));
    });
    request.on("close", () => {
      if (request === current && !answer.hasBegun) settle(problem("connection_reset"));
    });
    request.end(target.body);
  }

  function begin(agent: http.Agent): void {
    try {
      start(agent);
    } catch (error) {
      settle(problemOf(error, target));
    }
  }

  const cancel = () => settle(problem("cancelled"));
  const deadline = setTimeout(() => {
    settle(
      problem(
        "timeout",
        timeoutMessage(target.timeoutMs, current?.writableFinished === true, answer.hasBegun),
      ),
    );
  }, target.timeoutMs);
  inFlight.add(cancel);
  begin(target.agents.pooled);
  return promise;
}

/** What has been read of an answer, at most 64 KB of it; the body is taken as it comes, whatever its encoding says. */
class Answer {
  hasBegun = false;
  isWhole = false;
  #status: number | null = null;
  #retryAfter: string | null = null;
  #bytes = 0;
  #start: Uint8Array[] = [];

  read(response: http.IncomingMessage, settle: (error: AttemptError | null) => void): void {
    this.hasBegun = true;
    this.#status = response.statusCode ?? null;
    this.#retryAfter = response.headers["retry-after"] ?? null;
    response.on("data", (chunk: Buffer) => {
      this.#keep(chunk);
      if (this.#bytes > ANSWER_BYTES_MAX) settle(null);
    });
    response.on("end", () => {
      this.isWhole = response.complete;
      if (this.isWhole) settle(null);
    });
    response.on("error", () => {}); // "close" follows, and says it
    response.on("close", () => settle(problem("connection_reset", "The answer broke off before its end.")));
  }

  result(error: AttemptError | null): Result {
    const responseExcerpt = this.hasBegun ? this.#excerpt() : null;
    return { status: this.#status, error, responseExcerpt, retryAfter: this.#retryAfter };
  }

  #keep(chunk: Buffer): void {
    const room = EXCERPT_BYTES_MAX - this.#bytes;
    // A copy: a slice would hold on to the socket's whole buffer.
    if (room > 0) this.#start.push(Uint8Array.prototype.slice.call(chunk, 0, room));
    this.#bytes += chunk.length;
  }

  /** Invalid UTF-8 becomes U+FFFD; a character that our own cut broke is left out (`stream` withholds it). */
  #excerpt(): string {
    if (this.#bytes === 0) return "";
    return new TextDecoder().decode(Buffer.concat(this.#start), { stream: this.#bytes > EXCERPT_BYTES_MAX });
  }
}

/** Whether a kept connection had died before this request reached anybody who answers. */
function isStale(request: http.ClientRequest, error: unknown, bytesReadBefore: number): boolean {
  const hasAnswerBytes = (request.socket?.bytesRead ?? 0) > bytesReadBefore;
  return request.reusedSocket && !hasAnswerBytes && kindOf(error) === "connection_reset";
}

const KIND_OF_CODE: Readonly<Record<string, AttemptErrorKind>> = {
  ECONNREFUSED: "connection_refused",
  ECONNRESET: "connection_reset",
  EPIPE: "connection_reset",
  ERR_SOCKET_CLOSED: "connection_reset",
  ETIMEDOUT: "timeout",
  ERR_INVALID_CHAR: "invalid_request",
  ERR_INVALID_HTTP_TOKEN: "invalid_request",
  ERR_HTTP_INVALID_HEADER_VALUE: "invalid_request",
};

function kindOf(error: unknown): AttemptErrorKind {
  if (error instanceof ResolveError) return error.kind;
  const code = codeOf(error);
  const known = KIND_OF_CODE[code];
  if (known !== undefined) return known;
  if (code.startsWith("HPE_")) return "bad_response";
  // OpenSSL's names for certificate faults share no prefix: CERT_HAS_EXPIRED, UNABLE_TO_..., SELF_SIGNED_..., ERR_TLS_...
  return code === "" || /^E[A-Z0-9]+$/.test(code) ? "connection_failed" : "tls_failed";
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : "";
}

/** The error's own message is not passed on: it may name addresses that only the operator should see. */
function problemOf(error: unknown, { host, protocol }: Target): AttemptError {
  const kind = kindOf(error);
  const code = codeOf(error);
  if (kind === "blocked_address") return problem(kind, blockedDetail(host, protocol));
  if (kind === "dns_failed") return problem(kind, `The name ${host} could not be resolved.`);
  if (kind === "connection_failed" && code !== "") return problem(kind, `The connection failed (${code}).`);
  if (kind === "tls_failed") return problem(kind, `No trusted TLS connection could be made (${code}).`);
  return problem(kind);
}

const MESSAGES: Readonly<Record<AttemptErrorKind, string>> = {
  invalid_request:
    "The request could not be written: a header of the endpoint has a name or value that cannot be sent.",
  blocked_address: "The address is blocked.",
  dns_failed: "The name could not be resolved.",
  connection_refused: "The connection was refused.",
  connection_reset: "The connection was closed before an answer came.",
  connection_failed: "The connection failed.",
  tls_failed: "No trusted TLS connection could be made.",
  timeout: "The connection took too long.",
  bad_response: "The answer was not valid HTTP.",
  cancelled: "The attempt was cancelled because the server is stopping.",
};

function problem(kind: AttemptErrorKind, message: string = MESSAGES[kind]): AttemptError {
  return { kind, message };
}

function failed(kind: AttemptErrorKind, message?: string): Result {
  return { status: null, error: problem(kind, message), responseExcerpt: null, retryAfter: null };
}

function timeoutMessage(timeoutMs: number, isSent: boolean, hasAnswerBegun: boolean): string {
  const stage = hasAnswerBegun ? "the answer was whole" : isSent ? "an answer came" : "the request was sent";
  return `${timeoutMs} ms passed before ${stage}.`;
}
