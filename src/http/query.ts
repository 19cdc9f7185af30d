// Query strings. Surprise: a parameter that is unknown or given twice is refused, because a filter that is misspelt
// and ignored makes a consumer read, and acknowledge, the wrong events.

import { z } from "zod";
import { validate } from "./body.ts";
import { invalid } from "./problem.ts";

const WHOLE_NUMBER = /^-?\d{1,15}$/;
const wholeNumberNames = new WeakMap<z.ZodObject, ReadonlySet<string>>();

/** The parameters of a URL as the schema gives them; 422 when they do not fit. */
export function readQuery<S extends z.ZodObject>(url: string, schema: S): z.output<S> {
  const at = url.indexOf("?");
  const given: Record<string, unknown> = Object.create(null);
  for (const [name, text] of new URLSearchParams(at === -1 ? "" : url.slice(at + 1))) {
    if (name in given) throw invalid(`/${name}`, "Give it once.");
    // Digits become numbers here, so that the schema stays that of a number, in the documentation too.
    given[name] = namesOfWholeNumbers(schema).has(name) && WHOLE_NUMBER.test(text) ? Number(text) : text;
  }
  return validate(schema, { ...given }, "parameter");
}

function namesOfWholeNumbers(schema: z.ZodObject): ReadonlySet<string> {
  const known = wholeNumberNames.get(schema);
  if (known !== undefined) return known;
  const { properties = {} } = z.toJSONSchema(schema, { io: "input" });
  const names = Object.keys(properties).filter((name) => {
    const property = properties[name];
    return typeof property === "object" && property.type === "integer";
  });
  const found: ReadonlySet<string> = new Set(names);
  wholeNumberNames.set(schema, found);
  return found;
}
