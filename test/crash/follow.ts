// A client that follows an organization's stream over all restarts, each time from the last id that it read: it sees
// every event once, in the order of acceptance.

import { StreamReader } from "../help/sse.ts";
import type { OrgRecord, World } from "./record.ts";

type Told = { readonly id: string; readonly payload: { readonly org: string; readonly op: number } };

export class Follower {
  readonly org: OrgRecord;
  readonly #world: World;
  readonly #seen = new Set<string>();
  #reader: StreamReader | null = null;
  #lastId = "";
  /** Of those that were not hidden: the others come when their time does. */
  #lastEvent = "";

  constructor(org: OrgRecord, world: World) {
    this.org = org;
    this.#world = world;
  }

  /** Goes on with the server that runs now. Resolves when the stream stands. */
  async open(url: string): Promise<void> {
    const headers = { "x-api-key": this.org.key, "last-event-id": this.#lastId };
    const reader = await StreamReader.open(`${url}/api/inbox/stream`, headers);
    if (reader.status !== 200) {
      this.#world.violated(`the stream of ${this.org.name} does not go on: ${reader.status}`);
      return;
    }
    this.#reader = reader;
    this.#lastId = await reader.greeting(); // where it stands before the first event
    void this.#read(reader);
  }

  close(): void {
    this.#reader?.close();
  }

  /** Events that it should have seen by now. */
  missing(): readonly string[] {
    return [...this.org.events.values()]
      .filter(
        ({ deletion, ack, hiddenUntilMs }) => deletion === "no" && (hiddenUntilMs === 0 || ack === "no"),
      )
      .flatMap(({ id }) => (id === null || this.#seen.has(id) ? [] : [id]));
  }

  /** To the end of the stream, which is the server's. */
  async #read(reader: StreamReader): Promise<void> {
    try {
      for (let sent = await reader.next(); sent !== null; sent = await reader.next()) {
        if (sent.event === "message") this.#take(JSON.parse(sent.data) as Told);
        // As an EventSource does: the position counts when what belongs to it was read.
        this.#lastId = reader.lastId;
      }
    } catch {
      // the server was killed
    }
  }

  #take({ id, payload }: Told): void {
    const { org } = this;
    if (payload.org !== org.name) this.#world.violated(`the stream of ${org.name} tells of ${payload.org}`);
    if (this.#seen.has(id)) this.#world.violated(`the stream of ${org.name} tells event ${id} twice`);
    this.#seen.add(id);
    if (this.#world.byOp.get(payload.op)?.hiddenUntilMs !== 0) return;
    if (id < this.#lastEvent) {
      this.#world.violated(`the stream of ${org.name} tells event ${id} after ${this.#lastEvent}`);
    }
    this.#lastEvent = id;
  }
}
