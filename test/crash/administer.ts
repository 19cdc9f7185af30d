// The load's operator: makes organizations and erases them.

import type { Calls } from "./calls.ts";
import type { Random } from "./random.ts";
import { OrgRecord, type World } from "./record.ts";

/** Far above what a run sends: the limit of a tier is not what is tried here. */
const RATE_PER_MINUTE = 10_000_000;
const TEMPORARY_MAX = 3;

export class Operator {
  readonly #world: World;
  readonly #calls: Calls;
  readonly #random: Random;

  constructor(world: World, calls: Calls, random: Random) {
    this.#world = world;
    this.#calls = calls;
    this.#random = random;
  }

  async step(): Promise<void> {
    const temporary = this.#world.active.filter(({ isTemporary }) => isTemporary);
    const one = this.#random.pickAny(temporary);
    if (one !== undefined && (temporary.length >= TEMPORARY_MAX || this.#random.chance(0.4))) {
      await this.#erase(one);
    } else await this.makeOrganization(this.#random.chance(0.5), true);
  }

  async makeOrganization(isConsumed: boolean, isTemporary: boolean): Promise<void> {
    const name = `org-${this.#world.nextNumber()}`;
    this.#world.orgsBeside.add(name);
    const asked = { organization_name: name, tier: "enterprise" };
    const made = await this.#calls.call(null, "POST", "/api/keys/generate", asked);
    if (made === "lost") return;
    this.#world.orgsBeside.delete(name);
    if (made === "refused") return; // 60 a minute
    if (made.status !== 201) return this.#calls.unexpected("making an organization", made);
    const { organization_id: id, api_key: key } = made.body;
    this.#world.orgs.push(new OrgRecord({ name, id, key, isConsumed, isTemporary }));
    const raised = { rate_limit_per_minute: RATE_PER_MINUTE };
    const answer = await this.#calls.call(null, "PATCH", `/api/admin/organizations/${id}`, raised);
    if (typeof answer === "object" && answer.status !== 200)
      this.#calls.unexpected("raising a limit", answer);
  }

  async #erase(org: OrgRecord): Promise<void> {
    org.erasure = "sent";
    const answer = await this.#calls.call(null, "DELETE", `/api/admin/organizations/${org.id}`);
    if (answer === "lost" || answer === "refused") return;
    if (answer.status !== 204) return this.#calls.unexpected(`erasing ${org.name}`, answer);
    this.erased(org);
  }

  /** Nothing of it is sent or seen any more. */
  erased(org: OrgRecord): void {
    org.erasure = "done";
    this.#world.counts.erased++;
    for (const endpoint of org.endpoints) endpoint.settle({ ...endpoint.state, status: "deleted" });
  }
}
