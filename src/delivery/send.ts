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
/**
 * Of an answer with its headers and framing. The parser takes empty lines before an answer, and zeros before a chunk's
 * size, without end: a receiver that sent nothing else took the thread's whole time, 1 GB a second, until the deadline.
 */
const RAW_BYTES_MAX = 2 * ANSWER_BYTES_MAX;
/** 100 Continue, 103 Early Hints and such before the answer. Without end they stopped the thread for 300 ms at a time. */
const INTERIM_ANSWERS_MAX = 100;
const ROUTES_MAX = 1000;

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

interface Agents {
  /** Keeps connections and hands them out again. */
  pooled: http.Agent;
  /** A new connection for each request, for the second try after a stale one. */
  fresh: http.Agent;
}

/** Where a URL leads. */
interface Route {
  protocol: Protocol;
  /** Without the brackets of an IPv6 address. */
  host: string;
  port: string;
  path: string;
}

type Routed = { ok: true; route: Route } | { ok: false; error: AttemptError };

interface Target {
  route: Route;
  headers: Record<string, string>;
  /** Text and not bytes: node:http then writes it with the headers, in one system call instead of two. */
  body: string;
  timeoutMs: number;
  agents: Agents;
}

/** A sender with its own pool of connections. */
export function createSender(options: SenderOptions): Sender {
  const routeOf = createRouter(options.egress);
  const lookup = options.lookup ?? createResolver();
  const agents = {
    "http:": createAgents("http:", options, lookup),
    "https:": createAgents("https:", options, lookup),
  };
  const inFlight = new Set<Exchange>();
  let closed = false;

  async function send(attempt: Attempt): Promise<AttemptOutcome> {
    const startedAtMs = Date.now();
    const startedTick = performance.now();
    const result = closed ? failed(problem("cancelled")) : await attemptOnce(attempt, startedAtMs);
    return { startedAtMs, durationMs: Math.round(performance.now() - startedTick), ...result };
  }

  function attemptOnce(attempt: Attempt, startedAtMs: number): Promise<Result> | Result {
    const routed = routeOf(attempt.url);
    if (!routed.ok) return failed(routed.error);
    const { route } = routed;
    const { headers, body } = written(attempt, options.userAgentVersion, startedAtMs);
    const target = { route, headers, body, timeoutMs: attempt.timeoutMs, agents: agents[route.protocol] };
    return new Exchange(target, inFlight).run();
  }

  function close(): void {
    closed = true;
    for (const exchange of [...inFlight]) exchange.cancel();
    for (const { pooled, fresh } of Object.values(agents)) {
      pooled.destroy();
      fresh.destroy();
    }
  }

  return { send, close };
}

/** Remembers what checkUrl said, which depends on nothing else: parsing each time took 8 of 75 µs an attempt. */
function createRouter(egress: Egress): (url: string) => Routed {
  const known = new Map<string, Routed>();
  return (url) => {
    const remembered = known.get(url);
    if (remembered !== undefined) return remembered;
    const routed = route(url, egress);
    if (known.size >= ROUTES_MAX) known.clear();
    known.set(url, routed);
    return routed;
  };
}

function route(text: string, egress: Egress): Routed {
  const checked = checkUrl(text, egress);
  if (!checked.ok) {
    const isMalformed = checked.code === "invalid_url" || checked.code === "url_credentials";
    return { ok: false, error: problem(isMalformed ? "invalid_request" : "blocked_address", checked.detail) };
  }
  const { protocol, hostname, port, pathname, search } = checked.url;
  const host = hostname.startsWith("[") ? hostname.slice(1, -1) : hostname;
  return {
    ok: true,
    route: { protocol: protocol === "http:" ? "http:" : "https:", host, port, path: pathname + search },
  };
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
    Promise.try(() => Bun.dns.lookup(hostname)).then(finish, askSystem);
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

/** The request's headers and body, signed as of now. */
function written(attempt: Attempt, version: string, startedAtMs: number) {
  const { event, secretKeys, attemptNumber, extraHeaders } = attempt;
  const body = webhookBody(event);
  const timestampSeconds = Math.floor(startedAtMs / 1000);
  const signature = signatureHeader(secretKeys, event.id, timestampSeconds, body);
  const { id, type } = event;
  const headers = webhookHeaders({
    ...{ id, type, attemptNumber, timestampSeconds, signature, version },
    ...(extraHeaders === undefined ? undefined : { extra: extraHeaders }),
  });
  headers["accept-encoding"] = "identity";
  headers["content-length"] = String(Buffer.byteLength(body));
  return { headers, body };
}

/** One request and its answer. It settles exactly once: whole answer, enough of it, failure, deadline or cancellation. */
class Exchange {
  readonly #target: Target;
  readonly #inFlight: Set<Exchange>;
  readonly #answer = new Answer();
  readonly #done = Promise.withResolvers<Result>();
  #request: http.ClientRequest | null = null;
  #deadline: ReturnType<typeof setTimeout> | undefined;
  #isSettled = false;
  #socket: Socket | null = null;
  /** What the connection had read before this request, from answers to earlier ones. */
  #bytesReadBefore = 0;
  #interimAnswers = 0;

  constructor(target: Target, inFlight: Set<Exchange>) {
    this.#target = target;
    this.#inFlight = inFlight;
  }

  run(): Promise<Result> {
    const { timeoutMs, agents } = this.#target;
    this.#deadline = setTimeout(() => this.#settle(problem("timeout", this.#timeoutMessage())), timeoutMs);
    this.#inFlight.add(this);
    this.#start(agents.pooled);
    return this.#done.promise;
  }

  cancel(): void {
    this.#settle(problem("cancelled"));
  }

  #settle(error: AttemptError | null): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    clearTimeout(this.#deadline);
    this.#inFlight.delete(this);
    this.#socket?.off("data", this.#limitRaw);
    this.#done.resolve(this.#answer.result(error));
    // Sent whole and answered whole, it has given its connection back. Any other loses it: what would still come on it,
    // or still has to go (a receiver that answers at once and never reads the rest), is nobody's any more.
    if (!this.#answer.isWhole || !this.#request?.writableFinished) this.#request?.destroy();
  }

  #start(agent: http.Agent): void {
    try {
      this.#write(agent);
    } catch (error) {
      this.#settle(problemOf(error, this.#target.route));
    }
  }

  #write(agent: http.Agent): void {
    const { route, headers, body } = this.#target;
    const { host, port, path } = route;
    const options = { method: "POST", host, port, path, headers, agent };
    const request = (route.protocol === "https:" ? https : http).request(options);
    this.#request = request;
    request.on("socket", (socket) => this.#watch(socket));
    request.on("information", () => this.#limitInterim());
    request.on("response", (response) => this.#answer.read(response, (error) => this.#settle(error)));
    request.on("upgrade", () => {
      this.#settle(problem("bad_response", "The endpoint switched protocols instead of answering."));
    });
    request.on("error", (error) => this.#failed(request, error));
    request.on("close", () => this.#failed(request, null));
    request.end(body);
  }

  #watch(socket: Socket): void {
    this.#socket = socket;
    this.#bytesReadBefore = socket.bytesRead;
    socket.on("data", this.#limitRaw);
  }

  #bytesRead(): number {
    return (this.#socket?.bytesRead ?? 0) - this.#bytesReadBefore;
  }

  /** Called after the parser, which has then taken from these bytes what is in them of an answer. */
  readonly #limitRaw = (): void => {
    if (this.#bytesRead() <= RAW_BYTES_MAX) return;
    const message = `No answer was in the first ${RAW_BYTES_MAX / 1024} KB.`;
    this.#settle(this.#answer.hasBegun ? null : problem("bad_response", message));
  };

  #limitInterim(): void {
    this.#interimAnswers++;
    if (this.#interimAnswers <= INTERIM_ANSWERS_MAX) return;
    const message = `More than ${INTERIM_ANSWERS_MAX} interim answers (1xx) came.`;
    this.#settle(problem("bad_response", message));
  }

  /** Nothing decides here once an answer has begun: its own end or close does, also with surplus bytes behind it. */
  #failed(request: http.ClientRequest, error: Error | null): void {
    if (this.#isSettled || request !== this.#request || this.#answer.hasBegun) return;
    if (this.#isStale(request, error)) this.#start(this.#target.agents.fresh);
    else this.#settle(error === null ? problem("connection_reset") : problemOf(error, this.#target.route));
  }

  /** Whether a kept connection had died before any answer to this. The second try is on a new one: there is no third. */
  #isStale(request: http.ClientRequest, error: Error | null): boolean {
    if (!request.reusedSocket || this.#bytesRead() > 0) return false;
    return error === null || kindOf(error) === "connection_reset";
  }

  #timeoutMessage(): string {
    const isSent = this.#request?.writableFinished === true;
    const stage = isSent ? "an answer came" : "the request was sent";
    return `${this.#target.timeoutMs} ms passed before ${this.#answer.hasBegun ? "the answer was whole" : stage}.`;
  }
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
    if (room > 0) this.#start.push(chunk.subarray(0, room));
    this.#bytes += chunk.length;
  }

  /** Invalid UTF-8 becomes U+FFFD; a character that our own cut broke is left out (`stream` withholds it). */
  #excerpt(): string {
    const [first, ...rest] = this.#start;
    if (first === undefined) return "";
    const bytes = rest.length === 0 ? first : Buffer.concat(this.#start);
    return this.#bytes > EXCERPT_BYTES_MAX
      ? new TextDecoder().decode(bytes, { stream: true })
      : LOSSY.decode(bytes);
  }
}

const LOSSY = new TextDecoder();

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
function problemOf(error: unknown, { host, protocol }: Route): AttemptError {
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

function failed(error: AttemptError): Result {
  return { status: null, error, responseExcerpt: null, retryAfter: null };
}
