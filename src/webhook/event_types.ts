// Which events an endpoint wants, by patterns of their types: `*`, a prefix such as `order.*`, or a type exactly.

export type TypeMatcher = (type: string) => boolean;

/** Decides for a list of patterns; an event matches when one of them does. */
export function typeMatcher(patterns: readonly string[]): TypeMatcher {
  if (patterns.includes("*")) return () => true;
  const exact = new Set(patterns.filter((pattern) => !pattern.endsWith("*")));
  const prefixes = patterns.filter((pattern) => pattern.endsWith("*")).map((pattern) => pattern.slice(0, -1));
  return (type) => exact.has(type) || prefixes.some((prefix) => type.startsWith(prefix));
}
