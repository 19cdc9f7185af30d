// The client of src/sdk for the commands that send and follow: with the address and the key that remote.ts found, and
// its words for what went wrong.
import { Triggers } from "../sdk/client.ts";
import type { ConnectionOptions } from "../sdk/connection.ts";
import { TriggersError } from "../sdk/error.ts";
import { type Remote, say } from "./remote.ts";

/** With the pauses between them, a server that is started again is back within these. */
export const RESTART_RETRIES_MAX = 8;

export function clientOf(remote: Remote, options: Omit<ConnectionOptions, "url" | "key"> = {}): Triggers {
  const { url, key, isLocal } = remote;
  const send = (where: string, init: RequestInit) => fetch(where, isLocal ? { ...init, proxy: false } : init);
  return new Triggers({ ...options, url, key, fetch: send });
}

/** One line that says what a call came to, without the key. */
export function failureOf(remote: Remote, error: unknown): string {
  if (!(error instanceof TriggersError)) return error instanceof Error ? error.message : String(error);
  const { status, code, detail } = error;
  if (status > 0) return say(remote, `answered ${status}: ${detail}`);
  if (code === "timeout") return say(remote, "did not answer in time.");
  return say(remote, `cannot be reached: ${nobodyListens(error) ? "nobody listens there." : detail}`);
}

/** The connection was refused, so the call never began. */
export function nobodyListens({ cause }: TriggersError): boolean {
  const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
  return code === "ConnectionRefused" || code === "ECONNREFUSED";
}
