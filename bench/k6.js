// The load test of the original system, for k6 (https://k6.io): 30 s up to 100 users, 60 s of them, 30 s down; p95 below
// 100 ms and fewer than 1 % errors. Not part of `bun run bench`: k6 is a program of its own.
//
//   k6 run -e URL=http://127.0.0.1:3000 bench/k6.js
//
// KEY is an API key that may publish; without it one is made (open mode). SHORT=1 takes 5 s in all, to see that it works.

import { check, sleep } from "k6";
import http from "k6/http";
import { Counter } from "k6/metrics";

const URL = __ENV.URL || "http://127.0.0.1:3000";
const USERS = 100;
const LIMIT_PER_MINUTE = 10_000_000;
const stages = __ENV.SHORT ? ["1s", "3s", "1s"] : ["30s", "60s", "30s"];

export const options = {
  stages: [
    { duration: stages[0], target: USERS },
    { duration: stages[1], target: USERS },
    { duration: stages[2], target: 0 },
  ],
  thresholds: {
    http_req_duration: ["p(95)<100"],
    http_req_failed: ["rate<0.01"],
    checks: ["rate>0.99"],
  },
};

const accepted = new Counter("events_accepted");

export function setup() {
  if (__ENV.KEY) return { key: __ENV.KEY };
  const headers = { "content-type": "application/json" };
  const made = http.post(
    `${URL}/api/keys/generate`,
    JSON.stringify({ organization_name: "Load test", tier: "enterprise" }),
    { headers },
  );
  if (made.status !== 201) throw new Error(`no key: ${made.status} ${made.body}; give one with -e KEY=...`);
  const { api_key: key, organization_id: id } = made.json();
  // 100 users of 10 events a second are 60 000 a minute; the faster the answers, the more. Errors are to be the server's.
  const raised = JSON.stringify({ rate_limit_per_minute: LIMIT_PER_MINUTE });
  http.patch(`${URL}/api/admin/organizations/${id}`, raised, { headers });
  return { key };
}

export default function sendEvent({ key }) {
  const id = `${__VU}-${__ITER}-${Date.now()}`;
  const body = JSON.stringify({
    type: "order.created",
    dedup_id: id,
    payload: { order_id: id, total: "129.90", currency: "EUR" },
  });
  const answer = http.post(`${URL}/api/events`, body, {
    headers: { "content-type": "application/json", "x-api-key": key },
  });
  const isAccepted = check(answer, {
    "202, and the event's id": (one) => one.status === 202 && !!one.json("id"),
  });
  if (isAccepted) accepted.add(1);
  sleep(0.1);
}
