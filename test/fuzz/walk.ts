// A walk: calls of two organizations, in groups that go out at the same time, and what must hold of each answer and of
// all in the end. A rule that is broken is thrown with the calls that led there.

import type { Answer, Api, TestServer } from "../help/server.ts";
import { apiOf } from "../help/server.ts";
import { type Asked, CALLS, type Draw, type Scene } from "./calls.ts";
import { note } from "./notes.ts";
import type { ServedDocument } from "./served_document.ts";
import { asAdmin, idsIn, type Tenant } from "./tenant.ts";

export type Step = Draw & { readonly who: 0 | 1; readonly call: string };

/** The calls that were made and their statuses; for a failure's message. */
const LOG_LINES_MAX = 60;

export class Walk {
  readonly #server: TestServer;
  readonly #document: ServedDocument;
  readonly #receiverUrl: string;
  readonly #tenants: readonly [Tenant, Tenant];
  readonly #log: string[] = [];
  /** Every status that was answered, by call of the document: that a walk gets somewhere is asserted too. */
  readonly answered: Map<string, Set<number>>;

  constructor(
    options: {
      server: TestServer;
      document: ServedDocument;
      receiverUrl: string;
      answered: Map<string, Set<number>>;
    },
    tenants: readonly [Tenant, Tenant],
  ) {
    this.#server = options.server;
    this.#document = options.document;
    this.#receiverUrl = options.receiverUrl;
    this.answered = options.answered;
    this.#tenants = tenants;
  }

  async run(steps: readonly Step[], atOnce: number): Promise<void> {
    for (let at = 0; at < steps.length; at += atOnce)
      await Promise.all(steps.slice(at, at + atOnce).map((step) => this.#take(step)));
    for (const tenant of this.#tenants) await this.#settle(tenant);
  }

  async #take(step: Step): Promise<void> {
    const caller = this.#tenants[step.who];
    const other = this.#tenants[1 - step.who] as Tenant;
    const scene: Scene = { caller, other, receiverUrl: this.#receiverUrl };
    const [, make] = CALLS[step.call] ?? [];
    if (make === undefined) throw new Error(`there is no call ${step.call}`);
    const asked = make(step, scene);
    const answer = await this.#ask(caller, asked, step.call);
    if (!asked.isAdmin) this.#requireNoLeak(caller, other, asked, answer);
    if (asked.isForeign && answer.status < 300) this.#fail(`${step.call} reached what is not the caller's`);
    if (answer.status < 300 && !asked.isAdmin) {
      caller.learn(answer, textOf(asked));
      note(caller, asked, answer);
    }
  }

  async #ask(caller: Tenant, asked: Asked, name: string): Promise<Answer> {
    const { method, path, body, headers = {}, key = caller.key, isAdmin = false } = asked;
    const api: Api = apiOf(this.#server.url, isAdmin ? {} : { "x-api-key": key });
    const answer = await api.send(method, path, {
      headers: { ...headers },
      ...(body !== undefined && { body }),
    });
    const log = `${caller.marker.slice(0, 4)} ${name}: ${method} ${path} ${body ?? ""}`;
    this.#log.push(`${log.slice(0, 300)} -> ${answer.status} ${answer.text.slice(0, 200)}`);
    if (answer.status >= 500) this.#fail("a server error");
    const complaints = this.#document.complaints(method, path, answer);
    if (complaints.length > 0) this.#fail(`not as documented: ${complaints.join("; ")}`);
    const call = this.#document.callOf(method, path);
    if (call !== null) this.answered.set(call, (this.answered.get(call) ?? new Set()).add(answer.status));
    return answer;
  }

  #requireNoLeak(caller: Tenant, other: Tenant, asked: Asked, answer: Answer): void {
    const leaked = caller.leaks(other, answer, textOf(asked));
    if (leaked.length > 0) this.#fail(`told another organization's: ${leaked.join(", ")}`);
  }

  /** What was accepted is there, unless its own organization deleted it, and untouched by the other. */
  async #settle(tenant: Tenant): Promise<void> {
    const get = (path: string) => this.#ask(tenant, { method: "GET", path }, "in the end");
    for (const id of tenant.accepted) {
      const { status, body } = await get(`/api/events/${id}`);
      const expected = tenant.deleted.has(id) ? 404 : 200;
      if (status !== expected) this.#fail(`the event ${id} is ${status}, not ${expected}`);
      if (status !== 200) continue;
      if (!JSON.stringify(body.payload).includes(tenant.marker)) this.#fail(`${id} has another's payload`);
      if (body.acknowledged_at !== null && !tenant.acknowledged.has(id))
        this.#fail(`${id} was acknowledged by somebody else`);
    }
    for (const id of tenant.endpoints) {
      const { status, body } = await get(`/api/endpoints/${id}`);
      if (status !== 200 || !body.url.includes(tenant.marker))
        this.#fail(`the endpoint ${id} is not as it was`);
    }
    await this.#settleInbox(tenant);
    await this.#settleExport(tenant);
  }

  /** A walk by cursor sees each event once. */
  async #settleInbox(tenant: Tenant): Promise<void> {
    const seen: string[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const path = `/api/inbox?limit=7&order=asc${cursor && `&cursor=${cursor}`}`;
      const { body } = await this.#ask(tenant, { method: "GET", path }, "in the end");
      seen.push(...body.events.map((event: { id: string }) => event.id));
      cursor = body.next_cursor;
    }
    const there = [...tenant.accepted].filter((id) => !tenant.deleted.has(id));
    // Acknowledged while it was hidden, an event is in the inbox at once.
    const missing = there.filter((id) => !tenant.hidden.has(id) && !seen.includes(id));
    const strange = seen.filter((id, at) => !there.includes(id) || seen.indexOf(id) !== at);
    if (missing.length > 0 || strange.length > 0)
      this.#fail(
        `the inbox lacks ${missing.join(", ") || "nothing"}, and has besides ${strange.join(", ") || "nothing"}`,
      );
  }

  async #settleExport(tenant: Tenant): Promise<void> {
    const other = this.#tenants.find((one) => one !== tenant) as Tenant;
    const path = `/api/admin/organizations/${tenant.id}/export`;
    const asked: Asked = { method: "GET", path, isAdmin: true, headers: asAdmin };
    const answer = await this.#ask(tenant, asked, "in the end");
    this.#requireNoLeak(tenant, other, asked, answer);
    const exported = new Set(idsIn(answer.text));
    for (const id of tenant.accepted)
      if (!tenant.deleted.has(id) && !exported.has(id)) this.#fail(`the export lacks ${id}`);
  }

  #fail(what: string): never {
    throw new Error(`${what}\n${this.#log.slice(-LOG_LINES_MAX).join("\n")}`);
  }
}

const textOf = ({ path, body = "", headers = {} }: Asked) =>
  `${decoded(path)} ${body} ${JSON.stringify(headers)}`;

function decoded(path: string): string {
  try {
    return `${path} ${decodeURIComponent(path)}`;
  } catch {
    return path;
  }
}
