// All that an inbox has, by its pages.

import type { Api } from "./server.ts";

/** The ids of all events that are shown, and match this query (`&status=...`). */
export async function inboxIds(api: Api, query = ""): Promise<Set<string>> {
  const ids = new Set<string>();
  let cursor = "";
  do {
    const { status, text, body } = await api.get(`/api/inbox?limit=1000${query}${cursor}`);
    if (status !== 200) throw new Error(`${status} ${text}`);
    for (const { id } of body.events) ids.add(id);
    cursor = body.has_more ? `&cursor=${encodeURIComponent(body.next_cursor)}` : "";
  } while (cursor !== "");
  return ids;
}
