// /api/inbox/stream: every event as it is committed, for clients that follow along. Surprise: the key is looked at again
// while the stream is open; a request is over in milliseconds, a stream may be open for months.

import { Elysia } from "elysia";
import { StreamQuery } from "../../wire/inbox.ts";
import type { Answer, Call, Kit } from "../call.ts";
import type { Deps } from "../deps.ts";
import { positionOf } from "../event_stream_text.ts";
import { operation } from "../operation.ts";
import { hook } from "../route.ts";

const MEDIA_TYPE = "text/event-stream";

const follow = operation({
  id: "streamInbox",
  tag: "Inbox",
  summary: "Follow events as they come",
  description:
    "Server-sent events: each event as soon as it is on disk, in the order of acceptance; one with `deliver_at` when its " +
    "time comes. `data:` is the event as `GET /api/inbox` tells it, and `id:` is where the stream stands. Send the last " +
    "one as `Last-Event-ID` and the stream goes on behind it, without gap or repeat, also after a restart of the server " +
    "(browsers' EventSource does so by itself). Without it, the stream begins now.\n\n" +
    '```\nid: MS45MTE1MDA3LjFxMnczZTRy\ndata: {"id":"01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52","type":"order.created",...}\n\n' +
    ": keep-alive\n```\n\n" +
    "The first block has an `id:` and no data; a comment comes every 15 seconds. `event: close`: the server stops, " +
    "connect again. `event: error`: a problem document says why the stream ends (the key was deleted; nothing was taken " +
    "for a minute while events waited). Following takes nothing away: events stay in the inbox until they are " +
    "acknowledged. At most 2,000 streams of an organization are open at once.",
  access: "consume",
  query: StreamQuery,
  headers: {
    "Last-Event-ID": [
      "The last `id:` that was read: the stream goes on behind it.",
      "MS45MTE1MDA3LjFxMnczZTRy",
    ],
  },
  answers: { 200: { description: "The stream; it does not end by itself.", mediaType: MEDIA_TYPE } },
  problems: ["too_many_streams"],
});

export function streamRoutes(kit: Kit, deps: Deps) {
  return new Elysia().get(
    "/api/inbox/stream",
    kit.handle(follow, (call) => openStream(kit, deps, call)),
    hook(follow),
  );
}

function openStream(kit: Kit, { streams }: Deps, call: Call<typeof follow>): Answer {
  const { request, principal, query } = call;
  const { org, keyId } = principal;
  const after = afterOf(org, request.headers.get("last-event-id"), query.last_event_id);
  const body = streams.open({
    org,
    type: query.type ?? null,
    after,
    keyId,
    onEnd: () => release(),
  });
  const release = kit.hold(request);
  return { status: 200, body, mediaType: MEDIA_TYPE, headers: HEADERS };
}

/** Proxies must hand on each event at once, and nobody must keep them. */
const HEADERS = { "cache-control": "no-store", "x-accel-buffering": "no" };

/** An empty header is what a client sends that has read nothing yet. */
function afterOf(org: number, header: string | null, parameter: string | undefined) {
  if (header !== null && header !== "") return positionOf(org, header, "/Last-Event-ID");
  return parameter === undefined ? null : positionOf(org, parameter, "/last_event_id");
}
