// One op to one result, inside the group's transaction: the only place that knows what each write does to the
// tables. Statements are prepared once, at the start.

import { prepareAck } from "./ack.ts";
import { prepareAudit } from "./audit.ts";
import type { Context } from "./context.ts";
import { prepareAgeStep, prepareCancelStep } from "./endpoint_steps.ts";
import {
  prepareCreateEndpoint,
  prepareDeleteEndpoint,
  prepareDisableEndpoint,
  prepareEnableEndpoint,
  preparePutDefaultEndpoint,
  prepareRotateSecret,
  prepareUpdateEndpoint,
} from "./endpoints.ts";
import { prepareIngest } from "./ingest.ts";
import { prepareAckLease, prepareExtendLease, prepareLease, prepareReleaseLease } from "./leases.ts";
import type { Op, OpResult } from "./op.ts";
import {
  prepareCreateKey,
  prepareCreateOrganization,
  prepareDeleteKey,
  prepareRotateKey,
  prepareTouchKeys,
  prepareUpdateOrganization,
} from "./organizations.ts";
import {
  prepareDeleteEvents,
  prepareEndErase,
  prepareEraseStep,
  preparePruneStep,
  prepareStartErase,
} from "./remove.ts";
import { prepareCreateReplay, prepareReplayStep, prepareRetryDelivery } from "./requeue.ts";
import { prepareAppearStep } from "./scheduled.ts";
import { prepareSettle } from "./settle.ts";
import { prepareTryWrite } from "./try_write.ts";

/** Returns `apply(op)`; it throws only on SQLite errors and defects, and then the group is rolled back. */
export function prepareApply(ctx: Context): (op: Op) => OpResult {
  const handlers: Handlers = {
    ingest: prepareIngest(ctx),
    settle: prepareSettle(ctx),
    ack: prepareAck(ctx),
    createOrganization: prepareCreateOrganization(ctx),
    updateOrganization: prepareUpdateOrganization(ctx),
    createKey: prepareCreateKey(ctx),
    rotateKey: prepareRotateKey(ctx),
    deleteKey: prepareDeleteKey(ctx),
    touchKeys: prepareTouchKeys(ctx),
    putDefaultEndpoint: preparePutDefaultEndpoint(ctx),
    createEndpoint: prepareCreateEndpoint(ctx),
    updateEndpoint: prepareUpdateEndpoint(ctx),
    deleteEndpoint: prepareDeleteEndpoint(ctx),
    enableEndpoint: prepareEnableEndpoint(ctx),
    disableEndpoint: prepareDisableEndpoint(ctx),
    rotateSecret: prepareRotateSecret(ctx),
    cancelStep: prepareCancelStep(ctx),
    ageStep: prepareAgeStep(ctx),
    retryDelivery: prepareRetryDelivery(ctx),
    createReplay: prepareCreateReplay(ctx),
    replayStep: prepareReplayStep(ctx),
    deleteEvents: prepareDeleteEvents(ctx),
    lease: prepareLease(ctx),
    ackLease: prepareAckLease(ctx),
    releaseLease: prepareReleaseLease(ctx),
    extendLease: prepareExtendLease(ctx),
    appearStep: prepareAppearStep(ctx),
    pruneStep: preparePruneStep(ctx),
    startErase: prepareStartErase(ctx),
    eraseStep: prepareEraseStep(ctx),
    endErase: prepareEndErase(ctx),
    noteExport: () => null,
    tryWrite: prepareTryWrite(ctx),
  };
  const audit = prepareAudit(ctx);
  const { ingest, settle } = handlers;
  return (op) => {
    if (op.op === "ingest") return ingest(op);
    if (op.op === "settle") return settle(op);
    // The compiler cannot see that a handler and its op go by the same word; the type of `handlers` says so.
    const result = (handlers[op.op] as (op: Op) => OpResult)(op);
    if (op.by !== undefined) audit(op, op.by, result);
    return result;
  };
}

type Handlers = { readonly [Name in Op["op"]]: (op: Extract<Op, { op: Name }>) => OpResult };
