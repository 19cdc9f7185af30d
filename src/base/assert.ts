// Our own mistakes, as opposed to bad input: the process stops, a supervisor restarts it.

/** Throws when `condition` is false; `what` says which invariant broke. Never used on input. */
export function assert(condition: unknown, what: string): asserts condition {
  if (!condition) throw new Error(`invariant broken: ${what}`);
}

/** For the end of a switch over a union: the compiler proves that it is never reached. */
export function unreachable(value: never): never {
  throw new Error(`unreachable: ${JSON.stringify(value)}`);
}
