// How an operation is put into Elysia: its body is read by its own handler, its documentation is written when somebody
// asks for it. (Writing all of it in JSON Schema at the start took half of the time to build the app.)

import type { AnyElysia } from "elysia";
import { describe } from "./describe.ts";
import type { Operation } from "./operation.ts";

const operations = new Map<string, Operation>();

/** The third argument of an Elysia route. `none`: Elysia does not touch the body. */
export function hook(told: Operation) {
  operations.set(told.id, told);
  return { parse: "none" as const, detail: { operationId: told.id } };
}

/** Writes the documentation of an app's operations into its routes, where the plugin looks for it. */
export function describeRoutes(app: AnyElysia): void {
  for (const { hooks } of app.routes) {
    const told = operations.get(hooks.detail?.operationId);
    if (told) Object.assign(hooks.detail, describe(told));
  }
}

/** For routes that are not in the documentation. */
export const hidden = { parse: "none" as const, detail: { hide: true } };
