// Which thread of a server is busy, and how busy the machine is: the profile beside a figure, which says what bounds it.

import type { Cell, Table } from "./benchmark.ts";
import { processMs, processorTime, shares, threads } from "./processes.ts";

/** Processor time by thread, in milliseconds; `restMs` are those of the runtime: JIT, garbage collection, hashes. */
type ThreadTimes = {
  readonly mainMs: number;
  readonly writerMs: number;
  readonly deliveryMs: number;
  readonly restMs: number;
};

export type Busy = ThreadTimes & {
  readonly elapsedMs: number;
  /** Share of all processors that was not idle: also the load generator, the receiver, and what others took. */
  readonly machine: number;
};

/** Runs this, and measures the server of this process id meanwhile. */
export async function whileBusy<T>(pid: number, run: () => Promise<T>): Promise<{ result: T; busy: Busy }> {
  const [threadsBefore, machineBefore, startMs] = [timesOf(pid), processorTime([]), performance.now()];
  const result = await run();
  const elapsedMs = performance.now() - startMs;
  const after = timesOf(pid);
  const since = (name: keyof ThreadTimes) => after[name] - threadsBefore[name];
  const busy = {
    ...{ mainMs: since("mainMs"), writerMs: since("writerMs") },
    ...{ deliveryMs: since("deliveryMs"), restMs: since("restMs") },
    ...{ elapsedMs, machine: shares(machineBefore, processorTime([])).busy },
  };
  return { result, busy };
}

/** The server starts the delivery thread before the writer's (src/server.ts); the runtime calls both "Worker". */
function timesOf(pid: number): ThreadTimes {
  const all = threads(pid);
  const workers = all.filter(({ name }) => name === "Worker").sort((a, b) => a.tid - b.tid);
  const mainMs = all.find(({ tid }) => tid === pid)?.ms ?? 0;
  const [deliveryMs = 0, writerMs = 0] = workers.map(({ ms }) => ms);
  // Of the whole process: threads of the runtime come and go.
  return { mainMs, writerMs, deliveryMs, restMs: processMs(pid) - mainMs - deliveryMs - writerMs };
}

export const BUSY_COLUMNS = ["main %", "writer %", "delivery %", "runtime %", "machine %"] as const;

/** Percent of one core for each thread, of all cores for the machine; several measurements together. */
export function busyCells(several: readonly Busy[]): number[] {
  const elapsedMs = several.reduce((sum, one) => sum + one.elapsedMs, 0);
  const percent = (pick: (one: Busy) => number) =>
    Math.round((100 * several.reduce((sum, one) => sum + pick(one), 0)) / elapsedMs);
  return [
    percent((one) => one.mainMs),
    percent((one) => one.writerMs),
    percent((one) => one.deliveryMs),
    percent((one) => one.restMs),
    percent((one) => one.machine * one.elapsedMs),
  ];
}

/** A line for each thing that was measured, under a column of this name. */
export function busyTable(column: string, lines: readonly (readonly [Cell, readonly Busy[]])[]): Table {
  return {
    title: "how busy each thread is (percent of a core; the machine: of all)",
    columns: [column, ...BUSY_COLUMNS],
    rows: lines.map(([name, busy]) => [name, ...busyCells(busy)]),
  };
}

export const COST_COLUMNS = ["main us", "writer us", "runtime us"] as const;

/** Processor time of one request, in microseconds. */
export function costCells(several: readonly Busy[], requests: number): number[] {
  const each = (pick: (one: Busy) => number) =>
    (1_000 * several.reduce((sum, one) => sum + pick(one), 0)) / requests;
  return [each((one) => one.mainMs), each((one) => one.writerMs), each((one) => one.restMs)];
}
