// Leases: events that are handed to one consumer for a time.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { gaugeIs } from "../help/gauge.ts";
import { type Answer, type Api, TestServer } from "../help/server.ts";

let server: TestServer;

beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(async () => {
  await server?.stop();
});

const ids = (answer: Answer): string[] => answer.body.events.map((event: { id: string }) => event.id);
const lease = (api: Api, body?: object) => api.post("/api/inbox/lease", body);
async function filled(count: number, type = "a") {
  const organization = await server.organization();
  const events = Array.from({ length: count }, (_, n) => ({ type, payload: n }));
  const { body } = await organization.api.post("/api/events/batch", { events });
  return { ...organization, sent: body.results.map((result: { id: string }) => result.id) as string[] };
}
/** What a lease of one second is worth when it has run out and another consumer has it. */
async function lostLease(count: number) {
  const organization = await filled(count);
  const first = await lease(organization.api, { max: count, lease_seconds: 1 });
  const second = await lease(organization.api, { max: 1, wait: 30 });
  return { ...organization, first: first.body.lease_id, second: second.body.lease_id, lost: ids(second) };
}

describe("taking", () => {
  test("hands out the oldest, each to one consumer", async () => {
    const { api, sent } = await filled(25);
    const [one, two, three, four] = [
      await lease(api),
      await lease(api, {}),
      await lease(api),
      await lease(api),
    ];
    expect([one, two, three].flatMap(ids)).toEqual(sent);
    expect(one.body.events[0]).toMatchObject({ type: "a", payload: 0, status: "pending", lease_count: 1 });
    const inbox = (await api.get("/api/inbox?order=asc&limit=1")).body.events[0];
    expect(one.body.events[0]).toEqual({ ...inbox, lease_count: 1 });
    expect(four.body).toEqual({ lease_id: null, leased_until: null, events: [] });
    expect(new Set([one, two, three].map(({ body }) => body.lease_id)).size).toBe(3);
  });

  test("hands each event to one of many who ask at the same time", async () => {
    const { api, sent } = await filled(200);
    const answers = await Promise.all(Array.from({ length: 40 }, () => lease(api, { max: 5 })));
    expect(answers.flatMap(ids).sort()).toEqual(sent);
  });

  test("chooses by type", async () => {
    const { api } = await filled(3, "order.created");
    const { body } = await api.post("/api/events", { type: "invoice", payload: 1 });
    expect(ids(await lease(api, { type: "invoice" }))).toEqual([body.id]);
    expect(ids(await lease(api, { type: "order.*" }))).toHaveLength(3);
    expect(ids(await lease(api, { type: "*" }))).toEqual([]);
  });

  test("finds a rare type behind thousands of others", async () => {
    const { api } = await filled(1_000, "common");
    const events = Array.from({ length: 1_000 }, (_, n) => ({ type: "common", payload: n }));
    for (let n = 0; n < 11; n++) await api.post("/api/events/batch", { events });
    const { body } = await api.post("/api/events", { type: "rare", payload: 1 });
    expect(ids(await lease(api, { type: "rare" }))).toEqual([body.id]);
  });

  test("hands out 8 MiB at most, and the rest to the next", async () => {
    const { api } = await server.organization();
    const payload = "x".repeat(250_000);
    const sent: string[] = [];
    for (let n = 0; n < 36; n++) sent.push((await api.post("/api/events", { type: "big", payload })).body.id);
    const [one, two] = [await lease(api, { max: 100 }), await lease(api, { max: 100 })];
    expect([ids(one).length, ids(two).length]).toEqual([33, 3]);
    expect([...ids(one), ...ids(two)]).toEqual(sent);
  });

  test("says until when, and leaves the events in the inbox", async () => {
    const { api, sent } = await filled(1);
    const before = Date.now();
    const { body } = await lease(api, { lease_seconds: 3_600 });
    expect(Date.parse(body.leased_until)).toBeWithin(before + 3_600_000, Date.now() + 3_600_001);
    expect(ids(await api.get("/api/inbox?status=pending"))).toEqual(sent);
  });

  test("leaves out what is acknowledged or deleted", async () => {
    const { api, sent } = await filled(3);
    await api.post(`/api/ack/${sent[0]}`);
    await api.send("DELETE", `/api/events/${sent[1]}`);
    expect(ids(await lease(api))).toEqual([sent[2] ?? ""]);
  });

  test("gives back what ran out, with its count raised, to one who waits", async () => {
    const { api, sent } = await filled(1);
    await lease(api, { lease_seconds: 1 });
    const again = await lease(api, { wait: 30 });
    expect([ids(again), again.body.events[0].lease_count]).toEqual([sent, 2]);
  });

  test("waits for a new event, and for a released one", async () => {
    const { api } = await server.organization();
    const first = lease(api, { wait: 30, type: "order.*" });
    await gaugeIs(api, "waiting_calls", 1);
    await api.post("/api/events", { type: "invoice", payload: 1 });
    const { body } = await api.post("/api/events", { type: "order.created", payload: 1 });
    expect(ids(await first)).toEqual([body.id]);
    const second = lease(api, { wait: 30, type: "order.*" });
    await gaugeIs(api, "waiting_calls", 1);
    await api.post("/api/inbox/release", { lease_id: (await first).body.lease_id });
    expect(ids(await second)).toEqual([body.id]);
  });

  test("waits no longer than for a release with a delay, or a lease made shorter, though it was to be longer", async () => {
    const { api, sent } = await filled(2);
    const { lease_id } = (await lease(api, { lease_seconds: 3_600 })).body;
    for (const [path, more, back] of [
      ["release", { event_ids: [sent[0]], delay_seconds: 1 }, sent[0]],
      ["extend", { lease_seconds: 1 }, sent[1]],
    ] as const) {
      const waiting = lease(api, { wait: 30 });
      await gaugeIs(api, "waiting_calls", 1);
      const startedMs = performance.now();
      await api.post(`/api/inbox/${path}`, { lease_id, ...more });
      expect([path, ids(await waiting)]).toEqual([path, [back ?? ""]]);
      expect(performance.now() - startedMs).toBeLessThan(15_000);
    }
  });

  test("gives what one of many who wait has let run out to another of them", async () => {
    const { api } = await server.organization();
    const waiting = [1, 2].map(() => lease(api, { wait: 30, lease_seconds: 1 }));
    await gaugeIs(api, "waiting_calls", 2);
    const startedMs = performance.now();
    await api.post("/api/events", { type: "t", payload: 1 });
    const taken = await Promise.all(waiting);
    expect(taken.map((one) => one.body.events[0]?.lease_count).toSorted()).toEqual([1, 2]);
    expect(performance.now() - startedMs).toBeLessThan(15_000);
  });

  test("hands a new event to one of those who wait", async () => {
    const { api } = await server.organization();
    const waiters = Array.from({ length: 20 }, () => lease(api, { wait: 2 }));
    await gaugeIs(api, "waiting_calls", 20);
    const { body } = await api.post("/api/events", { type: "a", payload: 1 });
    expect((await Promise.all(waiters)).flatMap(ids)).toEqual([body.id]);
  });
});

describe("a lease", () => {
  test("is acknowledged as a whole, and again with the same answer", async () => {
    const { api, sent } = await filled(3);
    const { lease_id } = (await lease(api)).body;
    for (const _ of ["first", "again"]) {
      const acked = await api.post("/api/inbox/ack", { lease_id });
      expect([acked.status, acked.body]).toEqual([200, { acknowledged: 3, not_found: [] }]);
    }
    expect(ids(await api.get("/api/inbox?status=delivered&order=asc"))).toEqual(sent);
  });

  test("is acknowledged in parts, and the rest released", async () => {
    const { api, sent } = await filled(3);
    const strange = ["01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52", "x"];
    const { lease_id } = (await lease(api)).body;
    const event_ids = [sent[1], strange[0], sent[1], strange[1]];
    const acked = await api.post("/api/inbox/ack", { lease_id, event_ids });
    expect([acked.status, acked.body]).toEqual([200, { acknowledged: 1, not_found: strange }]);
    const released = await api.post("/api/inbox/release", { lease_id });
    expect([released.status, released.body.released]).toEqual([200, 2]);
    expect(ids(await lease(api))).toEqual([sent[0] ?? "", sent[2] ?? ""]);
  });

  test("is released for later", async () => {
    const { api, sent } = await filled(1);
    const { lease_id } = (await lease(api)).body;
    const released = await api.post("/api/inbox/release", { lease_id, delay_seconds: 1 });
    expect([released.status, released.body]).toEqual([200, { released: 1, not_found: [] }]);
    expect(ids(await lease(api))).toEqual([]);
    expect(ids(await lease(api, { wait: 30 }))).toEqual(sent);
  });

  test("is extended", async () => {
    const { api } = await filled(2);
    const taken = (await lease(api, { lease_seconds: 60 })).body;
    const extended = await api.post("/api/inbox/extend", { lease_id: taken.lease_id, lease_seconds: 3_600 });
    expect([extended.status, extended.body]).toEqual([
      200,
      { extended: 2, leased_until: expect.any(String) },
    ]);
    expect(extended.body.leased_until > taken.leased_until).toBe(true);
  });

  test("does not take back by an extension what was released of it", async () => {
    const { api, sent } = await filled(2);
    const { lease_id } = (await lease(api)).body;
    await api.post("/api/inbox/release", { lease_id, event_ids: [sent[1]] });
    const extended = await api.post("/api/inbox/extend", { lease_id, lease_seconds: 3_600 });
    expect([extended.status, extended.body.extended]).toEqual([200, 1]);
    expect(ids(await lease(api))).toEqual([sent[1] ?? ""]);
  });

  test("that ran out still works for what nobody else has", async () => {
    const { api, first, lost } = await lostLease(3);
    const acked = await api.post("/api/inbox/ack", { lease_id: first });
    expect([acked.status, acked.body.code]).toEqual([409, "lease_expired"]);
    expect(acked.body).toMatchObject({ acknowledged: 2, lost, not_found: [] });
    expect(ids(await api.get("/api/inbox?status=delivered"))).toHaveLength(2);
    expect((await api.get(`/api/events/${lost[0]}`)).body.status).toBe("pending");
  });

  test("that ran out does not take away what another has, by release or extension", async () => {
    const { api, first, second, lost } = await lostLease(2);
    const extended = await api.post("/api/inbox/extend", { lease_id: first, lease_seconds: 60 });
    expect([extended.status, extended.body.lost, extended.body.extended]).toEqual([409, lost, 1]);
    const released = await api.post("/api/inbox/release", { lease_id: first, event_ids: lost });
    expect([released.status, released.body.lost, released.body.released]).toEqual([409, lost, 0]);
    expect(ids(await lease(api))).toEqual([]);
    const acked = await api.post("/api/inbox/ack", { lease_id: second });
    expect([acked.status, acked.body.acknowledged]).toEqual([200, 1]);
  });

  test("is not found when it is unknown, or another organization's", async () => {
    const { api } = await filled(1);
    const theirs = (await lease((await filled(1)).api)).body.lease_id;
    for (const lease_id of [theirs, "01a1fd3a-0340-7000-8f4e-3b8d1c6a9e52", "x", ""]) {
      for (const [path, more] of [
        ["ack", {}],
        ["release", {}],
        ["extend", { lease_seconds: 1 }],
      ] as const) {
        const { status, body } = await api.post(`/api/inbox/${path}`, { lease_id, ...more });
        expect([path, status, body.code]).toEqual([path, 404, "not_found"]);
      }
    }
  });
});

describe("a body that is none is refused", () => {
  test.each([
    ["lease", { max: 0 }, "/max"],
    ["lease", { max: 1_001 }, "/max"],
    ["lease", { max: "5" }, "/max"],
    ["lease", { lease_seconds: 0 }, "/lease_seconds"],
    ["lease", { lease_seconds: 3_601 }, "/lease_seconds"],
    ["lease", { wait: 31 }, "/wait"],
    ["lease", { wait: 0.5 }, "/wait"],
    ["lease", { type: "a b" }, "/type"],
    ["lease", { types: "a" }, "/types"],
    ["ack", {}, "/lease_id"],
    ["ack", { lease_id: "x", event_ids: [] }, "/event_ids"],
    ["ack", { lease_id: "x", event_ids: [1] }, "/event_ids/0"],
    ["release", { lease_id: "x", delay_seconds: 86_401 }, "/delay_seconds"],
    ["release", { lease_id: "x", delay_seconds: -1 }, "/delay_seconds"],
    ["extend", { lease_id: "x" }, "/lease_seconds"],
    ["extend", { lease_id: "x", lease_seconds: 3_601 }, "/lease_seconds"],
  ] as const)("%s %j", async (path, body, pointer) => {
    sharedOrganization ??= server.organization();
    const { api } = await sharedOrganization;
    const refused = await api.post(`/api/inbox/${path}`, body);
    expect([refused.status, refused.body.errors[0].pointer]).toEqual([422, pointer]);
  });

  test("and so is a key without the scope consume", async () => {
    const { api } = await server.organization();
    const { body } = await api.post("/api/keys", { scopes: ["publish", "manage"] });
    const publisher = server.api(body.api_key);
    for (const path of ["lease", "ack", "release", "extend"]) {
      const refused = await publisher.post(`/api/inbox/${path}`, {});
      expect([refused.status, refused.body.required_scope]).toEqual([403, "consume"]);
    }
  });
});

let sharedOrganization: ReturnType<TestServer["organization"]> | undefined;
