// Waiting until the server says how many of something there are: the signal that a call has begun to wait.

import { eventually } from "./eventually.ts";
import type { Api } from "./server.ts";

/** Resolves when this gauge of /metrics has this value. */
export async function gaugeIs(api: Api, name: string, value: number): Promise<void> {
  await eventually(
    () => api.get("/metrics"),
    ({ text }) => Number(new RegExp(`^${name} (\\d+)$`, "m").exec(text)?.[1]) === value,
  );
}
