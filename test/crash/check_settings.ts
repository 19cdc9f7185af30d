// After a restart: organizations, keys and endpoints are as the last answers said. A change that was in flight happened
// or did not; which of the two is seen now, and stays so.

import { eventually } from "../help/eventually.ts";
import type { Operator } from "./administer.ts";
import type { Calls } from "./calls.ts";
import type { Manager } from "./manage.ts";
import type { EndpointRecord, EndpointState, OrgRecord, World } from "./record.ts";

type EndpointTold = { id: string; url: string; event_types: string[]; status: "active" | "disabled" };

/** Dead keys are looked at when they are this young; each try costs the server a look. */
const DEAD_KEYS = 3;
const REPLAYS = 5;

export class SettingsChecker {
  readonly #world: World;
  readonly #calls: Calls;
  readonly #manager: Manager;
  readonly #operator: Operator;

  constructor(world: World, calls: Calls, manager: Manager, operator: Operator) {
    this.#world = world;
    this.#calls = calls;
    this.#manager = manager;
    this.#operator = operator;
  }

  /** Who is there at all: before all else, since an erasure goes on at the start. */
  async checkOrganizations(): Promise<void> {
    for (const org of this.#world.orgs) {
      if (org.erasure === "sent") await this.#lookAtErasure(org);
      else if (org.erasure === "done") await this.#checkErased(org);
    }
    const { body } = await this.#calls.api(null).get("/api/admin/organizations?limit=1000");
    const known = new Map(this.#world.orgs.map((org) => [org.id, org]));
    for (const { organization_id: id, organization_name: name } of body.organizations) {
      const org = known.get(id);
      const mayBe = org === undefined ? this.#world.orgsBeside.has(name) : org.erasure !== "done";
      if (!mayBe) this.#world.violated(`there is an organization ${name} (${id}) that should not be`);
      if (org !== undefined && org.erasure === "no" && name !== org.name) {
        this.#world.violated(`organization ${org.name} is called ${name}`);
      }
    }
  }

  /** It was begun and goes on to its end, or it was not begun. */
  async #lookAtErasure(org: OrgRecord): Promise<void> {
    const look = () => this.#calls.api(null).get(`/api/admin/organizations/${org.id}`);
    const first = await look();
    if (first.status === 200 && !first.body.disabled) {
      org.erasure = "no";
      return;
    }
    await eventually(look, ({ status }) => status === 404);
    this.#operator.erased(org);
  }

  async #checkErased(org: OrgRecord): Promise<void> {
    const { status } = await this.#calls.api(org.key).get("/api/inbox");
    if (status !== 401)
      this.#world.violated(`the key of ${org.name}, which is erased, was answered ${status}`);
    const admin = await this.#calls.api(null).get(`/api/admin/organizations/${org.id}`);
    if (admin.status !== 404) this.#world.violated(`${org.name} is erased and was answered ${admin.status}`);
  }

  async check(org: OrgRecord): Promise<void> {
    await this.#checkKeys(org);
    await this.#checkEndpoints(org);
    await this.#checkReplays(org);
  }

  async #checkKeys(org: OrgRecord): Promise<void> {
    const { status, body } = await this.#calls.api(org.key).get("/api/keys");
    if (status !== 200) throw new Error(`the key of ${org.name} was answered ${status}`);
    const ids: string[] = body.keys.map((key: { key_id: string }) => key.key_id);
    const dead = org.keys.filter((key) => key.is === "dead");
    for (const key of org.keys.filter(({ is }) => is !== "dead").concat(dead.slice(-DEAD_KEYS))) {
      const answer = await this.#calls.api(key.text).get("/api/keys");
      const isAlive = answer.status === 200;
      if (key.is === "unknown") key.is = isAlive ? "alive" : "dead";
      else if (isAlive !== (key.is === "alive")) {
        this.#world.violated(
          `key ${key.keyId} of ${org.name} is ${key.is} and was answered ${answer.status}`,
        );
      }
      if (ids.includes(key.keyId) !== (key.is === "alive")) {
        this.#world.violated(`key ${key.keyId} of ${org.name} is ${key.is} and the list says otherwise`);
      }
    }
    const known = 1 + org.keys.filter(({ is }) => is === "alive").length;
    if (ids.length < known || ids.length > known + org.keysLost) {
      this.#world.violated(`${org.name} has ${ids.length} keys and not ${known} (+${org.keysLost} unknown)`);
    }
  }

  async #checkEndpoints(org: OrgRecord): Promise<void> {
    const { body } = await this.#calls.api(org.key).get("/api/endpoints?limit=1000");
    const told = new Map((body.endpoints as EndpointTold[]).map((one) => [this.#nameOf(one), one]));
    for (const endpoint of [...org.endpoints]) await this.#checkEndpoint(endpoint, told.get(endpoint.name));
    for (const name of told.keys()) {
      if (!org.endpoints.some((endpoint) => endpoint.name === name)) {
        this.#world.violated(`${org.name} has an endpoint ${name} that it should not have`);
      }
    }
  }

  #nameOf({ url }: EndpointTold): string {
    return new URL(url).pathname.split("/")[1] ?? "";
  }

  async #checkEndpoint(endpoint: EndpointRecord, told: EndpointTold | undefined): Promise<void> {
    if (endpoint.id === null && told === undefined) return this.#manager.forget(endpoint, "lost");
    const { state, pending, name } = endpoint;
    const may = [...(pending ? [pending] : []), ...(endpoint.id === null ? [] : [state])];
    const found = may.find((one) => this.#isAs(endpoint, one, told));
    if (found === undefined) {
      const expected = JSON.stringify(may);
      this.#world.violated(`endpoint ${name} should be ${expected} and is ${JSON.stringify(told)}`);
      return;
    }
    if (told !== undefined) endpoint.id = told.id;
    if (pending !== null) endpoint.settle(found);
    // A secret that nobody was told: another one is asked for, and both sign meanwhile.
    if (!endpoint.secretIsKnown && told !== undefined) await this.#manager.rotateSecret(endpoint);
  }

  #isAs(endpoint: EndpointRecord, state: EndpointState, told: EndpointTold | undefined): boolean {
    if (told === undefined || state.status === "deleted") {
      return told === undefined && state.status === "deleted";
    }
    return (
      told.url === this.#manager.url(endpoint, state.version) &&
      told.status === state.status &&
      told.event_types.join() === state.types.join()
    );
  }

  async #checkReplays(org: OrgRecord): Promise<void> {
    for (const id of org.replays.slice(-REPLAYS)) {
      const { status } = await this.#calls.api(org.key).get(`/api/replays/${id}`);
      if (status !== 200) this.#world.violated(`replay ${id} of ${org.name} was answered ${status}`);
    }
  }
}
