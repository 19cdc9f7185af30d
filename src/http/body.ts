// Request bodies: bytes, then UTF-8 text, then JSON, then a schema. Surprise: Bun's own limit is off (see app.ts),
// because it answers 413 without a document and, for chunked bodies, too late. The limit is here: a length that is
// announced is refused before a byte is read, one that is not is counted while reading.

import type { z } from "zod";
import { type FieldError, fieldPointer, HttpProblem, validationProblem } from "./problem.ts";

/** No body is ever read beyond this. */
export const BODY_BYTES_MAX = 8 * 1024 * 1024;
/** For the bodies that are no payloads: 1 000 ids take 40 KB. */
export const SMALL_BODY_BYTES_MAX = 1024 * 1024;
/** More would hide the first ones, and could make an answer as long as the body. */
const ERRORS_MAX = 20;

const decoder = new TextDecoder("utf-8", { fatal: true });

/** Throws 415 unless the body is declared as JSON, or as what else is `wanted`, in UTF-8. */
export function requireJson(headers: Headers, wanted = "application/json"): void {
  if (headers.get("content-type") === wanted) return;
  if (mediaTypeOf(headers) !== wanted) throw new HttpProblem("unsupported_media_type");
  requireUtf8(headers);
}

/** The declared media type in lower case, without its parameters; empty when none is. */
export function mediaTypeOf(headers: Headers): string {
  const [type = ""] = (headers.get("content-type") ?? "").toLowerCase().split(";");
  return type.trim();
}

/** Throws 415 for another charset. JSON has none, but one may be declared. */
export function requireUtf8(headers: Headers): void {
  const [, ...parameters] = (headers.get("content-type") ?? "").toLowerCase().split(";");
  const isUtf8 = parameters.every(
    (one) => !one.includes("charset") || /^\s*charset\s*=\s*"?utf-?8"?\s*$/.test(one),
  );
  if (!isUtf8) throw new HttpProblem("unsupported_media_type");
}

/** Reads at most `bytesMax` bytes; throws `tooLarge()` when there are more. Not async: a layer costs 1 µs a request. */
export function readBytes(
  request: Request,
  bytesMax: number,
  tooLarge: () => HttpProblem,
): Promise<Uint8Array> {
  const announced = request.headers.get("content-length");
  if (announced === null) return readCounted(request, bytesMax, tooLarge);
  if (Number(announced) > bytesMax) throw tooLarge();
  return request.bytes();
}

async function readCounted(request: Request, bytesMax: number, tooLarge: () => HttpProblem) {
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for await (const part of request.body ?? []) {
    bytes += part.length;
    if (bytes > bytesMax) throw tooLarge();
    parts.push(part);
  }
  return Buffer.concat(parts, bytes);
}

/** The text of a body, without a byte order mark. 400 when it is not UTF-8; 415 when that is because of gzip. */
export function decodeText(bytes: Uint8Array, headers: Headers): string {
  try {
    return decoder.decode(bytes);
  } catch {
    throw new HttpProblem(isEncoded(headers) ? "unsupported_media_type" : "invalid_utf8");
  }
}

/** The value of a JSON text; 400 when it is none. */
export function parseJson(text: string, headers: Headers): unknown {
  try {
    return JSON.parse(text);
  } catch {
    if (isEncoded(headers)) throw new HttpProblem("unsupported_media_type");
    throw text.trim() === ""
      ? new HttpProblem("malformed_json", { detail: "The body is empty. Send a JSON object." })
      : new HttpProblem("malformed_json");
  }
}

function isEncoded(headers: Headers): boolean {
  const encoding = headers.get("content-encoding");
  return encoding !== null && encoding.toLowerCase() !== "identity";
}

/** A body that a schema describes. `isOptional`: no body at all stands for `{}`. */
export async function readBody<S extends z.ZodType>(
  request: Request,
  schema: S,
  isOptional: boolean,
): Promise<z.output<S>> {
  const { headers } = request;
  const isDeclared = headers.has("content-type") || !isOptional;
  if (isDeclared) requireJson(headers);
  const bytes = await readBytes(request, SMALL_BODY_BYTES_MAX, () => bodyTooLarge(SMALL_BODY_BYTES_MAX));
  if (isOptional && bytes.length === 0) return validate(schema, {});
  if (!isDeclared) requireJson(headers);
  return validate(schema, parseJson(decodeText(bytes, headers), headers));
}

export function bodyTooLarge(limitBytes: number): HttpProblem {
  return new HttpProblem("body_too_large", { extra: { limit_bytes: limitBytes } });
}

/** The value as the schema gives it; 422 with a pointer for each thing that is wrong. `member`: what it is made of. */
export function validate<S extends z.ZodType>(
  schema: S,
  value: unknown,
  member: "field" | "parameter" = "field",
): z.output<S> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const errors = result.error.issues.flatMap((issue) => fieldErrors(issue, member));
  throw validationProblem(firstOfEach(errors).slice(0, ERRORS_MAX));
}

/** One for each place: zod goes on to count the characters of a text that should have been a list. */
function firstOfEach(errors: readonly FieldError[]): FieldError[] {
  const byPointer = new Map<string, FieldError>();
  for (const error of errors) if (!byPointer.has(error.pointer)) byPointer.set(error.pointer, error);
  return [...byPointer.values()];
}

function fieldErrors(issue: z.core.$ZodIssue, member: string): FieldError[] {
  const pointer = fieldPointer(issue.path);
  if (issue.code !== "unrecognized_keys") return [{ pointer, detail: issueDetail(issue) }];
  const keys = issue.keys.slice(0, ERRORS_MAX);
  return keys.map((key) => ({
    pointer: fieldPointer([...issue.path, key]),
    detail: `There is no such ${member}.`,
  }));
}

function issueDetail(issue: z.core.$ZodIssue): string {
  if (issue.code === "invalid_type" && issue.expected === "object") return "It must be a JSON object.";
  return issue.message;
}
