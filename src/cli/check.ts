// What `doctor` finds, one line each.

export type Level = "ok" | "warning" | "problem";

export interface Check {
  readonly check: string;
  readonly level: Level;
  /** What was found, as a sentence without its full stop. */
  readonly detail: string;
  /** What to do about it; null when there is nothing to do. */
  readonly advice: string | null;
}

export const ok = (check: string, detail: string): Check => ({ check, level: "ok", detail, advice: null });

export const warning = (check: string, detail: string, advice: string): Check => ({
  check,
  level: "warning",
  detail,
  advice,
});

export const problem = (check: string, detail: string, advice: string): Check => ({
  check,
  level: "problem",
  detail,
  advice,
});
