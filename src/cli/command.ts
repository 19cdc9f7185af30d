// The seam between the program and its commands: each command's file exports one function that adds it to the
// program, and hands its exit code back through `finish` instead of ending the process.

/** What a command gets from the program. */
export interface Run {
  readonly env: Record<string, string | undefined>;
  finish(exitCode: number): void;
}
