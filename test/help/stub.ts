// A server whose answers a test writes itself, for what the real one takes too long for, or never does. It records
// what it was asked. Waiting is by signal, as everywhere.

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: Headers;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: looked into field by field, by assertions
  readonly body: any;
}

export type Answering = (asked: Asked) => Response | Promise<Response>;

export class Stub {
  readonly asked: Asked[] = [];
  readonly #routes: Readonly<Record<string, Answering>>;
  readonly #server: Bun.Server<undefined>;
  #changed = Promise.withResolvers<void>();

  /** `routes`: by "METHOD /path". Each may be told anew for every request by what it closes over. */
  constructor(routes: Readonly<Record<string, Answering>>) {
    this.#routes = routes;
    this.#server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      idleTimeout: 0,
      maxRequestBodySize: 64 << 20,
      fetch: (request) => this.#answer(request),
    });
  }

  get url(): string {
    return this.#server.url.origin;
  }

  /** The requests to this path. */
  to(path: string): Asked[] {
    return this.asked.filter((one) => one.path === path);
  }

  /** When there have been `count` requests to this path. */
  async waitFor(path: string, count: number): Promise<Asked[]> {
    while (this.to(path).length < count) await this.#changed.promise;
    return this.to(path);
  }

  async stop(): Promise<void> {
    await this.#server.stop(true);
  }

  async #answer(request: Request): Promise<Response> {
    const { pathname, searchParams } = new URL(request.url);
    const text = await request.text();
    const asked = {
      method: request.method,
      path: pathname,
      query: searchParams,
      headers: request.headers,
      text,
      body: text === "" ? undefined : JSON.parse(text),
    };
    this.asked.push(asked);
    const changed = this.#changed;
    this.#changed = Promise.withResolvers();
    changed.resolve();
    const route = this.#routes[`${request.method} ${pathname}`];
    return route ? await route(asked) : problem(404, "route_not_found");
  }
}

/** A refusal as the server tells it. */
export function problem(
  status: number,
  code: string,
  extra: object = {},
  headers: Record<string, string> = {},
) {
  return Response.json({ status, code, detail: `The detail of ${code}.`, ...extra }, { status, headers });
}

/** One answer after the other; the last one stays. */
export function inTurn(...answers: readonly [Answering, ...Answering[]]): Answering {
  let turn = 0;
  return (asked) => (answers[Math.min(turn++, answers.length - 1)] ?? answers[0])(asked);
}

/** An answer of `POST /api/events/batch` that accepts everything; ids count from 1. */
export function acceptAll(): Answering {
  let id = 0;
  return ({ body }) => {
    const results = body.events.map(() => ({ status: "accepted", id: `id-${++id}` }));
    return Response.json({ accepted: results.length, duplicates: 0, rejected: 0, results }, { status: 202 });
  };
}

/** An event as the inbox tells it. */
export function told(id: string, more: object = {}) {
  return {
    id,
    type: "order.created",
    dedup_id: null,
    payload: { order: 1 },
    status: "pending",
    attempts: 0,
    response_status: null,
    last_error: null,
    created_at: "2026-11-21T08:30:00.000Z",
    updated_at: "2026-11-21T08:30:00.000Z",
    next_attempt_at: null,
    ...more,
  };
}
