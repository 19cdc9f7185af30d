// Requests as the bytes that go over the wire, made once before a load begins.

import { UNIQUE } from "./sender.ts";

/** About 200 bytes, as an event of a shop is. */
export const PAYLOAD = { order: 4711, customer: "c_83k2", total: "129.90", note: "x".repeat(140) };

/** A request without a body. */
export function getText(where: string, key?: string): string {
  return `GET ${where} HTTP/1.1\r\nhost: localhost\r\n${keyLine(key)}\r\n`;
}

/** A POST of JSON. */
export function postText(where: string, key: string, body: object): string {
  const text = JSON.stringify(body);
  const head = `POST ${where} HTTP/1.1\r\nhost: localhost\r\n${keyLine(key)}content-type: application/json\r\n`;
  return `${head}content-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`;
}

/** Events with a dedup id of their own each, the organizations in turn. */
export function eventTexts(keys: readonly string[]): string[] {
  const body = { type: "order.created", dedup_id: UNIQUE, payload: PAYLOAD };
  return keys.map((key) => postText("/api/events", key, body));
}

function keyLine(key: string | undefined): string {
  return key === undefined ? "" : `x-api-key: ${key}\r\n`;
}
