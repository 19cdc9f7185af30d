// What processes take of the machine, as Linux tells it in /proc: memory, processor time, by thread where it matters.

import { readdirSync, readFileSync } from "node:fs";
import { cpus } from "node:os";

/** Resident memory of a process in MiB. */
export function residentMib(pid: number): number {
  const kib = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kib) / 1024;
}

/** User and system time of a process so far, in milliseconds; the kernel counts hundredths of a second. */
export function processMs(pid: number): number {
  return statMs(`/proc/${pid}/stat`);
}

export type Thread = { readonly tid: number; readonly name: string; readonly ms: number };

/** The threads of a process, with their processor time so far. */
export function threads(pid: number): readonly Thread[] {
  return readdirSync(`/proc/${pid}/task`).map((tid) => ({
    tid: Number(tid),
    name: readFileSync(`/proc/${pid}/task/${tid}/comm`, "utf8").trim(),
    ms: statMs(`/proc/${pid}/task/${tid}/stat`),
  }));
}

/** Fields 14 and 15, behind the name, which may hold anything. */
function statMs(file: string): number {
  const text = readFileSync(file, "utf8");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

export type ProcessorTime = { readonly idleMs: number; readonly allMs: number; readonly ownMs: number };

/** What all processors did so far, and these processes. */
export function processorTime(pids: readonly number[]): ProcessorTime {
  const times = cpus().map((cpu) => cpu.times);
  const sum = (of: (one: (typeof times)[number]) => number) =>
    times.reduce((total, one) => total + of(one), 0);
  return {
    idleMs: sum((one) => one.idle),
    allMs: sum((one) => one.idle + one.user + one.nice + one.sys + one.irq),
    ownMs: pids.reduce((total, pid) => total + processMs(pid), 0),
  };
}

/** Between two times, as shares of all processors: what ran at all, and what was none of the processes asked for. */
export function shares(before: ProcessorTime, after: ProcessorTime): { busy: number; others: number } {
  const allMs = after.allMs - before.allMs;
  const busy = 1 - (after.idleMs - before.idleMs) / allMs;
  return { busy, others: Math.max(0, busy - (after.ownMs - before.ownMs) / allMs) };
}
