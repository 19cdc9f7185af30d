// What was seen from outside: events that were accepted, endpoints, what each commit said, what went out and what came
// back. It is told by the commits themselves, so it knows of an event even when the answer to its sender was lost.

import type { Changed } from "../../src/store/sqlite/endpoints.ts";
import { isFailure, type Op, type OpResult, type SettleOp } from "../../src/store/sqlite/op.ts";
import type { Endpoint } from "../../src/store/store.ts";

export type SeenEvent = { readonly id: string; readonly seq: number; readonly org: number };
export type SeenEndpoint = {
  readonly endpoint: number;
  readonly id: string;
  readonly org: number;
  url: string;
  isDeleted: boolean;
};

export class Ledger {
  readonly events: SeenEvent[] = [];
  readonly endpoints: SeenEndpoint[] = [];
  readonly replays = new Map<number, number>();
  /** When something was last done to all that waits for an endpoint, or to how it is sent. */
  readonly #touchedMs = new Map<number, number>();

  endpointOf(id: string): SeenEndpoint | undefined {
    return this.endpoints.find((one) => one.id === id);
  }

  touchedMs(endpoint: number): number {
    return this.#touchedMs.get(endpoint) ?? 0;
  }

  touch(endpoint: number, nowMs: number): void {
    this.#touchedMs.set(endpoint, nowMs);
  }

  /** Endpoints that this op did something to as a whole. */
  committed(op: Op, result: OpResult, nowMs: number): readonly number[] {
    if (isFailure(result)) return [];
    const touched = this.#touchedBy(op, result);
    for (const endpoint of touched) this.touch(endpoint, nowMs);
    return touched;
  }

  #touchedBy(op: Op, result: OpResult): readonly number[] {
    switch (op.op) {
      case "ingest":
        if (result === 0) this.events.push({ id: op.id, seq: op.seq, org: op.org });
        return [];
      case "settle":
        return endsEndpoint(op) ? [op.endpoint] : [];
      case "createEndpoint":
        return this.#created(result as Endpoint);
      case "updateEndpoint":
      case "enableEndpoint":
      case "disableEndpoint":
        if (result !== "not_found") this.#renamed((result as Changed).endpoint);
        return this.#byId(op.id);
      case "deleteEndpoint":
        for (const one of this.endpoints) if (one.id === op.id) one.isDeleted = true;
        return this.#byId(op.id);
      case "ageStep":
      case "cancelStep":
        return [op.endpoint];
      case "createReplay": {
        const created = result as { replay: number } | "not_found";
        const [endpoint] = this.#byId(op.endpointId);
        if (created !== "not_found" && endpoint !== undefined) this.replays.set(created.replay, endpoint);
        return [];
      }
      case "replayStep": {
        const endpoint = this.replays.get(op.replay);
        return endpoint === undefined ? [] : [endpoint];
      }
      default:
        return [];
    }
  }

  #created({ endpoint, id, org, url }: Endpoint): readonly number[] {
    this.endpoints.push({ endpoint, id, org, url, isDeleted: false });
    return [endpoint];
  }

  #renamed({ id, url }: Endpoint): void {
    const known = this.endpointOf(id);
    if (known) known.url = url;
  }

  #byId(id: string): readonly number[] {
    return this.endpoints.filter((one) => one.id === id).map(({ endpoint }) => endpoint);
  }
}

function endsEndpoint({ outcome, hopeless }: SettleOp): boolean {
  return outcome === "gone" || hopeless;
}
