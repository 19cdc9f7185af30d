// What a benchmark found: tables on the terminal, and all of it as JSON in bench/results/NAME.json, with the machine and
// the revision. Brief runs go into a folder of their own: they must not take the place of figures.

import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Cell, Figure, Findings, Options, Runnable, Table } from "./benchmark.ts";
import { type Machine, machine, machineLine } from "./machine.ts";
import { endProgress } from "./progress.ts";

const RESULTS = path.join(import.meta.dir, "../results");

export type Report = Findings & {
  readonly name: string;
  readonly question: string;
  /** RFC 3339. */
  readonly measuredAt: string;
  readonly machine: Machine;
  readonly options: Options;
};

/** The folder with the results of usual or of brief runs. */
export function resultsFolder(size: "usual" | "brief"): string {
  return size === "usual" ? RESULTS : path.join(RESULTS, "smoke");
}

/** Prints the findings and writes them down; returns whether they are without problems. */
export function publish(
  { name, question }: Pick<Runnable, "name" | "question">,
  size: "usual" | "brief",
  options: Options,
  findings: Findings,
): boolean {
  const measuredAt = new Date().toISOString();
  const report: Report = { name, question, measuredAt, machine: machine(), options, ...findings };
  const folder = resultsFolder(size);
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, `${name}.json`), `${JSON.stringify(report, null, 2)}\n`);
  endProgress();
  console.log(reportText(report));
  return findings.problems.length === 0;
}

function reportText(report: Report): string {
  const { figures = [] } = report;
  const rows = figures.map((one) => [one.name, one.value, one.unit, markText(one)]);
  const summary: Table = { columns: ["figure", "value", "unit", "mark"], rows };
  const tables = figures.length === 0 ? report.tables : [...report.tables, summary];
  return [
    `${report.name}: ${report.question}`,
    report.method,
    machineLine(report.machine),
    ...tables.map((table) => `\n${tableText(table)}`),
    ...report.problems.map((problem) => `PROBLEM: ${problem}`),
    "",
  ].join("\n");
}

/** Whether the figure keeps its mark; true without one. */
export function isKept({ value, atMost, atLeast }: Figure): boolean {
  return (atMost === undefined || value <= atMost) && (atLeast === undefined || value >= atLeast);
}

function markText(figure: Figure): string {
  const { atMost, atLeast } = figure;
  const marks = [
    ...(atMost === undefined ? [] : [`<= ${atMost}`]),
    ...(atLeast === undefined ? [] : [`>= ${atLeast}`]),
  ];
  if (marks.length === 0) return "";
  return `${marks.join(", ")}: ${isKept(figure) ? "kept" : "MISSED"}`;
}

/** Markdown, its columns aligned, so that it reads on a terminal and in a README. */
export function tableText({ title, columns, rows }: Table): string {
  const texts = [columns.map(String), ...rows.map((row) => row.map(cellText))];
  const widths = columns.map((_, i) => Math.max(3, ...texts.map((row) => row[i]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    `| ${widths.map((width, i) => (row[i] ?? "").padEnd(width)).join(" | ")} |`;
  const [head = [], ...rest] = texts;
  const rule = line(widths.map((width) => "-".repeat(width)));
  return [...(title === undefined ? [] : [title]), line(head), rule, ...rest.map(line)].join("\n");
}

/** Three significant digits are more than a shared machine can tell; whole numbers stay whole. */
function cellText(cell: Cell): string {
  if (typeof cell === "string") return cell;
  if (Number.isNaN(cell)) return "";
  if (Number.isInteger(cell) || Math.abs(cell) >= 1_000) return String(Math.round(cell));
  return cell.toFixed(Math.abs(cell) >= 100 ? 0 : 2);
}
