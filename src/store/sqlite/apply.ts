// One op to one result, inside the group's transaction: the only place that knows what each write does to the
// tables. Statements are prepared once, on the first use of each kind of op.

import { unreachable } from "../../base/assert.ts";
import { prepareAck } from "./ack.ts";
import type { Context } from "./context.ts";
import { prepareCancelStep, prepareDeleteDefaultEndpoint, preparePutDefaultEndpoint } from "./endpoints.ts";
import { prepareIngest } from "./ingest.ts";
import type { Op, OpResult } from "./op.ts";
import {
  prepareCreateKey,
  prepareCreateOrganization,
  prepareDeleteKey,
  prepareRotateKey,
  prepareTouchKeys,
  prepareUpdateOrganization,
} from "./organizations.ts";
import { prepareEraseStep, preparePruneStep, prepareStartErase } from "./remove.ts";
import { prepareSettle } from "./settle.ts";

/** Returns `apply(op)`; it throws only on SQLite errors and defects, and then the group is rolled back. */
export function prepareApply(ctx: Context): (op: Op) => OpResult {
  const ingest = prepareIngest(ctx);
  const settle = prepareSettle(ctx);
  const ack = prepareAck(ctx);
  const createOrganization = prepareCreateOrganization(ctx);
  const updateOrganization = prepareUpdateOrganization(ctx);
  const createKey = prepareCreateKey(ctx);
  const rotateKey = prepareRotateKey(ctx);
  const deleteKey = prepareDeleteKey(ctx);
  const touchKeys = prepareTouchKeys(ctx);
  const putDefaultEndpoint = preparePutDefaultEndpoint(ctx);
  const deleteDefaultEndpoint = prepareDeleteDefaultEndpoint(ctx);
  const cancelStep = prepareCancelStep(ctx);
  const pruneStep = preparePruneStep(ctx);
  const startErase = prepareStartErase(ctx);
  const eraseStep = prepareEraseStep(ctx);

  return (op) => {
    switch (op.op) {
      case "ingest":
        return ingest(op);
      case "settle":
        return settle(op);
      case "ack":
        return ack(op);
      case "createOrganization":
        return createOrganization(op);
      case "updateOrganization":
        return updateOrganization(op);
      case "createKey":
        return createKey(op);
      case "rotateKey":
        return rotateKey(op);
      case "deleteKey":
        return deleteKey(op);
      case "touchKeys":
        return touchKeys(op);
      case "putDefaultEndpoint":
        return putDefaultEndpoint(op);
      case "deleteDefaultEndpoint":
        return deleteDefaultEndpoint(op);
      case "cancelStep":
        return cancelStep(op);
      case "pruneStep":
        return pruneStep(op);
      case "startErase":
        return startErase(op);
      case "eraseStep":
        return eraseStep(op);
      default:
        return unreachable(op);
    }
  };
}
