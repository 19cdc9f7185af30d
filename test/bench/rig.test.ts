// The parts of the benchmarks that figures depend on: what they get wrong, no figure shows.

import { expect, test } from "bun:test";
import { AnswerReader } from "../../bench/rig/answer_reader.ts";
import { readOptions } from "../../bench/rig/benchmark.ts";
import { picture } from "../../bench/rig/chart.ts";
import { Latencies, median } from "../../bench/rig/numbers.ts";
import { eventTexts, getText } from "../../bench/rig/requests.ts";
import { ratioOf } from "../../bench/rig/rounds.ts";
import { type Sending, send } from "../../bench/rig/sender.ts";

test("percentiles of latencies are less than 1 % below the real ones", () => {
  const spread = Latencies.of(Array.from({ length: 10_000 }, (_, i) => (i + 1) / 10)).spread();
  for (const [told, real] of [
    [spread.p50Ms, 500],
    [spread.p95Ms, 950],
    [spread.p99Ms, 990],
  ] as const) {
    expect(told).toBeLessThanOrEqual(real);
    expect(told).toBeGreaterThan(real * 0.99);
  }
  expect(spread.maxMs).toBe(1_000);
  expect(spread.samples).toBe(10_000);
});

test("latencies of several runs are put together request by request, not percentile by percentile", () => {
  const quick = Latencies.of(Array(99).fill(1));
  const slow = Latencies.of([64]);
  const all = Latencies.together([quick, slow]).spread();
  expect(all).toEqual({ p50Ms: 1, p95Ms: 1, p99Ms: 1, maxMs: 64, samples: 100 });
  expect(Latencies.fromSteps(slow.steps(), 64).spread()).toEqual(slow.spread());
  expect(Latencies.of([]).spread()).toMatchObject({ p50Ms: Number.NaN, samples: 0 });
});

test("the ratio of two is the median of their rounds' ratios", () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(ratioOf([2, 9, 8], [1, 3, 8], (one) => one)).toEqual({ median: 2, least: 1, greatest: 3 });
});

test("options are taken by the names and kinds of a benchmark's own", () => {
  const known = { rounds: 5, clients: [1, 64] };
  expect(readOptions(known, ["--rounds=2", "--clients=4"])).toEqual({ rounds: 2, clients: [4] });
  for (const flag of ["--round=2", "--rounds=two", "--rounds=1,2", "rounds"])
    expect(() => readOptions(known, [flag])).toThrow(flag);
});

/** With what their bodies could be taken for: ends of heads, and of chunks. */
const ANSWERS = [
  "HTTP/1.1 202 Accepted\r\nContent-Length: 8\r\n\r\na\r\n\r\nbcd",
  "HTTP/1.1 204 No Content\r\n\r\n",
  "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nabcd\r\na;x=y\r\n0\r\n\r\n01234\r\n0\r\n\r\n",
  "HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n",
];
const READ = [
  [202, 8],
  [204, 0],
  [200, 14],
  [429, 0],
];

test("answers are told apart wherever the network cuts them", () => {
  const bytes = Buffer.from(ANSWERS.join(""));
  for (let size = 1; size <= bytes.length; size++) {
    const read: number[][] = [];
    const reader = new AnswerReader((status, bodyBytes) => read.push([status, bodyBytes]));
    for (let at = 0; at < bytes.length; at += size) reader.read(bytes.subarray(at, at + size));
    expect({ size, read }).toEqual({ size, read: READ });
  }
});

/** Sends to a server that answers so, and tells what came to it. */
async function sent(answer: (n: number) => Response, sending: Omit<Sending, "url">) {
  const bodies: string[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      bodies.push(await request.text());
      return answer(bodies.length);
    },
  });
  try {
    return { sent: await send({ ...sending, url: server.url.href }), bodies };
  } finally {
    server.stop(true);
  }
}

test("the load generator sends what its rate says, each event with a dedup id of its own", async () => {
  const load = {
    connections: 2,
    seconds: 1,
    perSecond: 50,
    requests: eventTexts(["a", "b"]),
    successes: [202],
  };
  const { sent: result, bodies } = await sent(() => new Response("{}", { status: 202 }), load);
  expect(result).toMatchObject({ requests: 50, errors: 0, statuses: { 202: 50 }, bytes: 100 });
  const ids = bodies.map((body) => (JSON.parse(body) as { dedup_id: string }).dedup_id);
  expect(new Set(ids).size).toBe(50);
});

test("answers that are no success are errors, and never requests", async () => {
  const load = { connections: 1, seconds: 1, perSecond: 20, requests: [getText("/")], successes: [200] };
  const answer = (n: number) => new Response("", { status: n % 4 === 0 ? 503 : 200 });
  const { sent: result } = await sent(answer, load);
  expect(result).toMatchObject({ requests: 15, errors: 5, statuses: { 200: 15, 503: 5 } });
  expect(result.latencies.spread().samples).toBe(15);
});

test("a picture escapes its texts and holds each point", () => {
  const svg = picture(
    [
      {
        ...{ title: "a < b", xTitle: "clients", labels: ["1", "64"], scale: "log" },
        series: [{ name: "p99", values: [0.5, 20], color: "a" }],
      },
    ],
    ["2 x Xeon & others"],
  );
  expect(svg).toContain("a &lt; b");
  expect(svg).toContain("2 x Xeon &amp; others");
  expect(svg.match(/<circle /g)?.length).toBe(2);
  expect(svg).not.toContain("NaN");
});
