// Walking the inbox by cursor while it changes, against a model: what was there at the start and stays is told exactly
// once, in order, and nothing is told that the filters leave out.

import { afterAll, beforeAll, expect, test } from "bun:test";
import fc from "fast-check";
import { type Organization, TestServer } from "../help/server.ts";

type Row = { id: string; type: string; created_at: string; status: string };
type Filter = {
  readonly status: string | undefined;
  readonly type: string | undefined;
  readonly since: number | undefined;
  readonly until: number | undefined;
  readonly order: "asc" | "desc";
};

let server: TestServer;
let acme: Organization;
/** What the inbox must hold, the oldest first. Deleted rows are taken out. */
const model = new Map<string, Row>();

beforeAll(async () => {
  server = await TestServer.start();
  acme = await server.organization();
});
afterAll(async () => {
  await server?.stop();
});

const TYPES = ["order", "order.created", "order.paid", "orders", "invoice"];

const filter: fc.Arbitrary<Filter> = fc.record({
  status: fc.constantFrom(undefined, "pending", "delivered", "undelivered", "dead_letter"),
  type: fc.constantFrom(undefined, ...TYPES, "order*", "order.*", "*", "nothing"),
  since: fc.option(fc.nat(60), { nil: undefined }),
  until: fc.option(fc.nat(60), { nil: undefined }),
  order: fc.constantFrom("asc", "desc"),
});

const write = fc.oneof(
  fc.record({
    kind: fc.constant("send" as const),
    types: fc.array(fc.constantFrom(...TYPES), { minLength: 1, maxLength: 4 }),
  }),
  fc.record({ kind: fc.constant("ack" as const), nth: fc.nat(40) }),
  fc.record({ kind: fc.constant("delete" as const), nth: fc.nat(40) }),
);
type Write = typeof write extends fc.Arbitrary<infer W> ? W : never;

async function run(one: Write): Promise<string | null> {
  if (one.kind === "send") {
    const events = one.types.map((type) => ({ type, payload: 1 }));
    const { body } = await acme.api.post("/api/events/batch", { events });
    for (const { id } of body.results) model.set(id, (await acme.api.get(`/api/events/${id}`)).body);
    return null;
  }
  // From the young end, where the walks are.
  const row = [...model.values()].at(-1 - one.nth);
  if (row === undefined) return null;
  if (one.kind === "ack") {
    await acme.api.post(`/api/ack/${row.id}`);
    model.set(row.id, { ...row, status: "delivered" });
  } else {
    await acme.api.send("DELETE", `/api/events/${row.id}`);
    model.delete(row.id);
  }
  return row.id;
}

/** A time that the newest events but so many have. */
const timeOf = (rows: readonly Row[], back: number | undefined) =>
  back === undefined ? undefined : rows.at(-1 - back)?.created_at;

function matcher(given: Filter, since: string | undefined, until: string | undefined) {
  const { status, type = "*" } = given;
  return (row: Row): boolean =>
    (status === undefined ||
      (status === "undelivered" ? row.status !== "delivered" : row.status === status)) &&
    (type.endsWith("*") ? row.type.startsWith(type.slice(0, -1)) : row.type === type) &&
    (since === undefined || row.created_at >= since) &&
    (until === undefined || row.created_at < until);
}

test("a walk tells what stays exactly once, whatever is written between its pages", async () => {
  await fc.assert(
    fc.asyncProperty(
      filter,
      fc.integer({ min: 1, max: 6 }),
      fc.array(fc.array(write, { maxLength: 2 }), { maxLength: 12 }),
      async (given, limit, writes) => {
        for (const one of writes[0] ?? []) await run(one);
        const rows = [...model.values()];
        const [since, until] = [timeOf(rows, given.since), timeOf(rows, given.until)];
        const matches = matcher(given, since, until);
        const atStart = rows.filter(matches).map(({ id }) => id);
        const touched = new Set<string>();
        const parameters = Object.entries({ ...given, since, until }).filter(
          ([, value]) => value !== undefined,
        );
        const query = new URLSearchParams([...parameters, ["limit", String(limit)]] as [string, string][]);
        const told: string[] = [];
        for (let page = 1; ; page++) {
          const { status, body } = await acme.api.get(`/api/inbox?${query}`);
          expect(status).toBe(200);
          expect(body.events.length).toBeLessThanOrEqual(limit);
          for (const event of body.events) {
            told.push(event.id);
            expect(matches(event)).toBe(true);
            expect(event.status).toBe(model.get(event.id)?.status ?? "");
          }
          expect(body.has_more).toBe(body.next_cursor !== null);
          if (!body.has_more) break;
          query.set("cursor", body.next_cursor);
          for (const one of writes[page] ?? []) {
            const id = await run(one);
            if (id !== null) touched.add(id);
          }
        }
        const sorted = [...new Set(told)].sort();
        expect(told).toEqual(given.order === "asc" ? sorted : sorted.reverse());
        const seen = new Set(told);
        expect(atStart.filter((id) => !seen.has(id) && !touched.has(id))).toEqual([]);
        if (writes.length <= 1) expect(told.length).toBe(atStart.length);
      },
    ),
    { numRuns: 150 },
  );
});

test("walks while many publish at once: what was there at the start is told exactly once", async () => {
  const { api } = await server.organization({ name: "Busy" });
  const publish = async () => {
    const events = Array.from({ length: 20 }, () => ({ type: "a", payload: 1 }));
    const { body } = await api.post("/api/events/batch", { events });
    return body.results.map((result: { id: string }) => result.id) as string[];
  };
  const walk = async (order: string, limit: number): Promise<string[]> => {
    const told: string[] = [];
    let cursor = "";
    // Upwards the publishers run ahead: it is enough to have passed all that was there.
    for (let page = 0; page < 200; page++) {
      const { body } = await api.get(`/api/inbox?order=${order}&limit=${limit}${cursor}`);
      told.push(...body.events.map((event: { id: string }) => event.id));
      if (!body.has_more) break;
      cursor = `&cursor=${body.next_cursor}`;
    }
    return told;
  };
  const before = (await Promise.all(Array.from({ length: 10 }, publish))).flat();
  let isOver = false;
  const publishers = Array.from({ length: 4 }, async () => {
    while (!isOver) await publish();
  });
  const walks = await Promise.all([walk("asc", 7), walk("desc", 7), walk("asc", 200), walk("desc", 999)]);
  isOver = true;
  await Promise.all(publishers);
  for (const [at, told] of walks.entries()) {
    const sorted = [...told].sort();
    expect(told).toEqual(at % 2 === 0 ? sorted : sorted.reverse());
    const count = Map.groupBy(told, (id) => id);
    expect(before.filter((id) => count.get(id)?.length !== 1)).toEqual([]);
  }
});
