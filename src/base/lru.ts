// A bounded cache: what was not used for longest goes first. It grows with what is in it. With `max`, lru-cache makes room
// for all entries at once: for 100 000 that took 6 ms of the start and 2 MB of an idle server.

import { LRUCache } from "lru-cache";

const one = () => 1;

/** An empty cache of at most so many entries. */
export function lru<Key extends {}, Value extends {}>(entriesMax: number): LRUCache<Key, Value> {
  return new LRUCache({ maxSize: entriesMax, sizeCalculation: one });
}
