// How an operation is put into Elysia: its body is read by its own handler, its documentation goes along.

import { describe } from "./describe.ts";
import type { Operation } from "./operation.ts";

/** The third argument of an Elysia route. `none`: Elysia does not touch the body. */
export function hook(told: Operation) {
  return { parse: "none" as const, detail: describe(told) };
}

/** For routes that are not in the documentation. */
export const hidden = { parse: "none" as const, detail: { hide: true } };
