// The load's managers: endpoints made, changed, disabled, enabled, deleted, their secrets exchanged; events deleted and
// replayed; keys made, exchanged, deleted. One at a time in an organization, so that one change at most is in flight
// when the server is killed.

import type { Answer } from "../help/server.ts";
import type { Calls } from "./calls.ts";
import type { Random } from "./random.ts";
import {
  EndpointRecord,
  type EndpointState,
  type EventRecord,
  type Fate,
  type KeyRecord,
  type OrgRecord,
  type World,
} from "./record.ts";

const TYPE_LISTS = [["*"], ["order.*"], ["order.paid", "user.*"], ["stock/moved:eu", "order.created"]];
const FATES: readonly Fate[] = ["good", "good", "flaky", "flaky", "picky", "bad"];
const ENDPOINTS_MAX = 4;
const KEYS_MAX = 3;
const ORDERED = 0.25;
/** Small, so that the one that expires first is not waited for: both sign meanwhile. */
const OVERLAP_SECONDS = 3_600;

type Answered = Answer | "lost" | "refused";

export class Manager {
  readonly #world: World;
  readonly #calls: Calls;
  readonly #random: Random;
  readonly #receiverUrl: string;

  constructor(world: World, calls: Calls, random: Random, receiverUrl: string) {
    this.#world = world;
    this.#calls = calls;
    this.#random = random;
    this.#receiverUrl = receiverUrl;
  }

  async step(org: OrgRecord): Promise<void> {
    const there = org.endpoints.filter(({ id, isDeletionAsked }) => id !== null && !isDeletionAsked);
    const endpoint = this.#random.pickAny(there);
    const which = this.#random.next();
    if (endpoint === undefined || (which < 0.1 && there.length < ENDPOINTS_MAX)) await this.makeEndpoint(org);
    else if (which < 0.25) await this.#patch(endpoint);
    else if (which < 0.45) await this.#switch(endpoint);
    else if (which < 0.48) await this.#remove(endpoint);
    else if (which < 0.6) await this.rotateSecret(endpoint);
    else if (which < 0.72) await this.#replay(endpoint);
    else if (which < 0.88) await this.#deleteEvent(org);
    else await this.#changeKeys(org);
  }

  async makeEndpoint(org: OrgRecord): Promise<void> {
    const name = `e${this.#world.nextNumber()}`;
    const secret = `whsec_${Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString("base64")}`;
    const state: EndpointState = { version: 1, types: this.#random.pick(TYPE_LISTS), status: "active" };
    const fate = org.isTemporary ? "good" : this.#random.pick(FATES);
    const isOrdered = this.#random.chance(ORDERED);
    const endpoint = new EndpointRecord({ name, org, fate, isOrdered, secret }, state);
    endpoint.ask(state);
    org.endpoints.push(endpoint);
    this.#world.endpoints.set(name, endpoint);
    const body = {
      ...{ url: this.url(endpoint, 1), event_types: state.types, signing_secret: secret },
      ordered: isOrdered,
    };
    const answer = await this.#calls.call(org.key, "POST", "/api/endpoints", body);
    if (answer === "lost") return;
    if (answer !== "refused" && answer.status === 201) {
      endpoint.id = answer.body.id;
      this.#changed(endpoint, state);
    } else this.forget(endpoint, answer);
  }

  /** It was never made. */
  forget(endpoint: EndpointRecord, answer: Answered): void {
    const { org } = endpoint;
    org.endpoints.splice(org.endpoints.indexOf(endpoint), 1);
    this.#world.endpoints.delete(endpoint.name);
    if (typeof answer === "object") this.#unexpected("making an endpoint", org, answer);
  }

  url({ name }: EndpointRecord, version: number): string {
    return `${this.#receiverUrl}/${name}/${version}`;
  }

  async #patch(endpoint: EndpointRecord): Promise<void> {
    const { state } = endpoint;
    const version = this.#random.chance(0.7) ? state.version + 1 : state.version;
    const pending = { ...state, version, types: this.#random.pick(TYPE_LISTS) };
    const body = { url: this.url(endpoint, version), event_types: pending.types };
    await this.#change(endpoint, pending, "PATCH", "", body);
  }

  async #switch(endpoint: EndpointRecord): Promise<void> {
    const status = endpoint.state.status === "disabled" ? "active" : "disabled";
    await this.setStatus(endpoint, status);
  }

  async setStatus(endpoint: EndpointRecord, status: "active" | "disabled"): Promise<void> {
    const verb = status === "active" ? "/enable" : "/disable";
    await this.#change(endpoint, { ...endpoint.state, status }, "POST", verb);
  }

  async #remove(endpoint: EndpointRecord): Promise<void> {
    await this.#change(endpoint, { ...endpoint.state, status: "deleted" }, "DELETE", "");
  }

  async #change(
    endpoint: EndpointRecord,
    pending: EndpointState,
    method: string,
    verb: string,
    body?: object,
  ): Promise<void> {
    const { org, id, state } = endpoint;
    endpoint.ask(pending);
    const answer = await this.#calls.call(org.key, method, `/api/endpoints/${id}${verb}`, body);
    if (answer === "lost") return;
    if (answer !== "refused" && answer.status < 300) return this.#changed(endpoint, pending);
    endpoint.settle(state);
    if (answer !== "refused") this.#unexpected(`${method} ${verb} of endpoint ${endpoint.name}`, org, answer);
  }

  #changed(endpoint: EndpointRecord, state: EndpointState): void {
    endpoint.settle(state);
    this.#world.counts.changes++;
  }

  /** What signs is not known while this is in flight. */
  async rotateSecret(endpoint: EndpointRecord): Promise<void> {
    const { org, id } = endpoint;
    endpoint.secretIsKnown = false;
    const path = `/api/endpoints/${id}/rotate-secret`;
    const answer = await this.#calls.call(org.key, "POST", path, { overlap_seconds: OVERLAP_SECONDS });
    if (answer === "lost") return;
    endpoint.secretIsKnown = true;
    if (answer === "refused") return;
    if (answer.status === 200) endpoint.secrets.push(answer.body.signing_secret);
    else this.#unexpected("exchanging a secret", org, answer);
  }

  /** Not on an ordered endpoint: what is put back comes out of the order. */
  async #replay(endpoint: EndpointRecord): Promise<void> {
    const { org, id } = endpoint;
    if (endpoint.isOrdered) return;
    const sinceMs = Date.now() - this.#random.spread(500, 60_000);
    const missing = { missing_only: true, event_types: ["order.*"] };
    const which = this.#random.pick([{}, { status: ["delivered", "failed"] }, missing]);
    const asked = { since: new Date(sinceMs).toISOString(), ...which };
    const before = which === missing ? [...org.events.values()] : [];
    const answer = await this.#calls.call(org.key, "POST", `/api/endpoints/${id}/replay`, asked);
    if (answer === "lost" || answer === "refused") return;
    if (answer.status !== 202) return this.#unexpected("a replay", org, answer);
    org.replays.push(answer.body.id);
    // From here on the endpoint is owed what it never got.
    const at = { endpoint, changes: endpoint.changes };
    for (const event of before) {
      const isAsked = event.type.startsWith("order.") && event.hiddenUntilMs === 0;
      if (isAsked && acceptedMs(event) >= sinceMs) event.meantFor = [...event.meantFor, at];
    }
  }

  async #deleteEvent(org: OrgRecord): Promise<void> {
    const event = this.#random.pickAny([...org.events.values()].slice(-500));
    if (event?.deletion !== "no") return;
    event.deletion = "sent";
    const answer = await this.#calls.call(org.key, "DELETE", `/api/events/${event.id}`);
    if (answer === "lost") return;
    if (answer !== "refused" && answer.status === 204) {
      Object.assign(event, { deletion: "done", overMs: event.overMs || Date.now() });
      return;
    }
    event.deletion = "no";
    if (answer !== "refused") this.#unexpected(`deleting event ${event.id}`, org, answer);
  }

  async #changeKeys(org: OrgRecord): Promise<void> {
    const alive = org.keys.filter((key) => key.is === "alive");
    const [oldest] = alive;
    if (oldest === undefined || (alive.length < KEYS_MAX && this.#random.chance(0.5)))
      await this.#makeKey(org);
    else if (this.#random.chance(0.5)) await this.#rotateKey(org, oldest);
    else await this.#deleteKey(org, oldest);
  }

  async #makeKey(org: OrgRecord): Promise<void> {
    const answer = await this.#calls.call(org.key, "POST", "/api/keys", { name: "spare" });
    if (answer === "lost") org.keysLost++;
    if (answer === "lost" || answer === "refused") return;
    if (answer.status === 201) this.#newKey(org, answer);
    else this.#unexpected("making a key", org, answer);
  }

  #newKey(org: OrgRecord, { body }: Answer): void {
    org.keys.push({ keyId: body.key_id, text: body.api_key, is: "alive" });
    this.#world.counts.changes++;
  }

  async #rotateKey(org: OrgRecord, key: KeyRecord): Promise<void> {
    key.is = "unknown";
    const answer = await this.#calls.call(key.text, "POST", "/api/keys/rotate", {});
    if (answer === "lost") org.keysLost++;
    if (answer === "lost") return;
    if (answer === "refused" || answer.status !== 200) {
      key.is = "alive";
      if (answer !== "refused") this.#unexpected("exchanging a key", org, answer);
      return;
    }
    key.is = "dead";
    this.#newKey(org, answer);
  }

  async #deleteKey(org: OrgRecord, key: KeyRecord): Promise<void> {
    key.is = "unknown";
    const answer = await this.#calls.call(org.key, "DELETE", `/api/keys/${key.keyId}`);
    if (answer === "lost") return;
    if (answer !== "refused" && answer.status === 204) {
      key.is = "dead";
      this.#world.counts.changes++;
      return;
    }
    key.is = "alive";
    if (answer !== "refused") this.#unexpected("deleting a key", org, answer);
  }

  #unexpected(what: string, org: OrgRecord, answer: Answer): void {
    if (org.erasure === "no") this.#calls.unexpected(`${what} in ${org.name}`, answer);
  }
}

/** The first 48 bits of its id. */
function acceptedMs({ id }: EventRecord): number {
  return Number.parseInt((id ?? "").replace("-", "").slice(0, 12), 16);
}
