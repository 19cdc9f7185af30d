// The receiver of the load's webhooks: looks at each one as it comes, and takes or refuses it as its endpoint's fate
// says. It runs on over the kills. What it reads after a kill may have been sent before: a connection's number tells.

import { Webhook } from "standardwebhooks";
import { answer, type Behavior, type Received, type Receiver, raw, startReceiver } from "../help/receiver.ts";
import type { EndpointRecord, EventRecord, World } from "./record.ts";

type Sent = { readonly id: string; readonly data: { readonly org: string; readonly op: number } };

export class Sink {
  readonly #receiver: Receiver;
  readonly #world: World;
  /** Connections up to this one are of servers that are dead. */
  #stale = 0;
  /** From now on everything is taken. */
  calm = false;
  onRequest: () => void = () => {};

  constructor(world: World) {
    this.#world = world;
    this.#receiver = startReceiver();
    this.#receiver.on("*", (received) => this.#receive(received));
  }

  get url(): string {
    return this.#receiver.url;
  }

  /** The server is dead, and the next one has not begun. */
  killed(): void {
    this.#stale = this.#receiver.connectionsSeen;
    for (const endpoint of this.#world.endpoints.values()) endpoint.killed();
  }

  stop(): void {
    this.#receiver.stop();
  }

  #receive(received: Received): Behavior {
    this.#receiver.received.length = 0; // each was looked at: hours of them would fill the memory
    this.#world.counts.webhooks++;
    this.onRequest();
    const [, name = "", version = ""] = received.path.split("/");
    const endpoint = this.#world.endpoints.get(name);
    if (endpoint === undefined) {
      this.#world.violated(`a webhook came for ${received.path}, which was never made`);
      return answer(500);
    }
    const id = received.header("webhook-id") ?? "";
    this.#checkSignature(endpoint, received);
    const event = this.#checkEvent(endpoint, id, received.body);
    if (received.connection > this.#stale) {
      this.#checkEndpoint(endpoint, Number(version), id);
      if (event?.hiddenUntilMs === 0) this.#checkOrder(endpoint, id);
    }
    if (!this.calm && isRefused(endpoint, id, received)) return refusal(id);
    endpoint.taken.add(id);
    if (id > endpoint.lastTaken) endpoint.lastTaken = id;
    return answer();
  }

  /** What was answered to be changed, disabled, deleted or erased holds from the restart on at the latest. */
  #checkEndpoint(endpoint: EndpointRecord, version: number, id: string): void {
    const { name, versions, mayBeSentTo } = endpoint;
    if (!versions.has(version)) {
      this.#world.violated(`event ${id} went to version ${version} of the URL of ${name}, which was changed`);
    }
    if (!mayBeSentTo) this.#world.violated(`event ${id} went to ${name}, which is disabled or deleted`);
  }

  /** The last one may come again after a kill; none before it may. At the end, dead letters are sent again. */
  #checkOrder({ name, isOrdered, lastTaken }: EndpointRecord, id: string): void {
    if (isOrdered && !this.calm && id < lastTaken) {
      this.#world.violated(`${name} is ordered, and got event ${id} after it had taken ${lastTaken}`);
    }
  }

  #checkSignature({ name, secrets, secretIsKnown }: EndpointRecord, { body, rawHeaders }: Received): void {
    if (!secretIsKnown) return;
    const headers = Object.fromEntries(rawHeaders);
    const isSigned = secrets.some((secret) => {
      try {
        new Webhook(secret).verify(body, headers);
        return true;
      } catch {
        return false;
      }
    });
    if (!isSigned) this.#world.violated(`a webhook for ${name} has no valid signature`);
  }

  #checkEvent(endpoint: EndpointRecord, id: string, body: string): EventRecord | undefined {
    const sent = JSON.parse(body) as Sent;
    const event = this.#world.byOp.get(sent.data.op);
    if (sent.data.org !== endpoint.org.name) {
      this.#world.violated(`${endpoint.name} of ${endpoint.org.name} got an event of ${sent.data.org}`);
    }
    if (event === undefined) {
      this.#world.violated(`${endpoint.name} got event ${id}, whose post ${sent.data.op} was not accepted`);
      return undefined;
    }
    if (sent.id !== id || (event.id ?? this.#world.sentAs.get(event.op) ?? id) !== id) {
      this.#world.violated(`post ${event.op} is event ${event.id}, and its webhook says ${id}`);
    }
    this.#world.sentAs.set(event.op, id);
    if (!body.endsWith(`"data":${event.payload}}`))
      this.#world.violated(`the payload of event ${id} was changed`);
    return event;
  }
}

/** By the event and the attempt, so that a seed repeats it. */
function isRefused({ fate }: EndpointRecord, id: string, received: Received): boolean {
  if (fate === "bad") return true;
  if (fate === "picky") return Bun.hash.crc32(id) % 20 === 0;
  return fate === "flaky" && Bun.hash.crc32(id + received.header("x-attempt")) % 6 === 0;
}

function refusal(id: string): Behavior {
  const refusals: readonly Behavior[] = [
    answer(500),
    answer(404),
    { kind: "reset" },
    { kind: "hang_up" },
    raw("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nshort"),
    answer(503, { delayMs: 20 }),
  ];
  return refusals[Bun.hash.crc32(`how${id}`) % refusals.length] ?? answer(500);
}
