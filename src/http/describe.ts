// An operation in the words of OpenAPI 3.1. Schemas with a name become references; openapi.ts collects them.

import type { DocumentDecoration } from "elysia";
import { z } from "zod";
import { type Access, type AnswerKind, type HeaderName, type Operation, problemsOf } from "./operation.ts";
import { PROBLEM_MEDIA_TYPE, type ProblemCode, problemExample, problemKinds } from "./problem.ts";

export const SCHEMA_PREFIX = "#/components/schemas/";
/** Where parameters wait: the plugin overwrites `parameters` with what it makes of the path. */
export const PARAMETERS = "x-parameters";

/** Names of the document's security schemes. */
const securitySchemes = {
  ApiKey: { type: "apiKey", in: "header", name: "X-API-Key", description: "An organization's API key." },
  BearerKey: { type: "http", scheme: "bearer", description: "The same API key, as a bearer token." },
  AdminToken: {
    type: "http",
    scheme: "bearer",
    description: "The server's ADMIN_TOKEN. Without one (open mode) nothing is needed on the same machine.",
  },
  MetricsToken: { type: "http", scheme: "bearer", description: "The server's METRICS_TOKEN, if it has one." },
} as const;

type Security = readonly Readonly<Record<string, readonly string[]>>[];
const KEY: Security = [{ ApiKey: [] }, { BearerKey: [] }];
const security: Record<Access, Security> = {
  publish: KEY,
  consume: KEY,
  manage: KEY,
  any_key: KEY,
  // The empty one: in open mode the call can be made without.
  admin: [{ AdminToken: [] }, {}],
  metrics: [{ MetricsToken: [] }, {}],
  open: [],
};

const accessText: Record<Access, string> = {
  publish: "Needs a key with the scope `publish`.",
  consume: "Needs a key with the scope `consume`.",
  manage: "Needs a key with the scope `manage`.",
  any_key: "Needs any key of the organization.",
  admin: "Needs ADMIN_TOKEN; in open mode (no ADMIN_TOKEN, on this machine) anyone may call it.",
  metrics: "Needs METRICS_TOKEN when the server has one.",
  open: "Needs no key.",
};

const headerText: Record<HeaderName | "X-Request-Id" | "Retry-After" | "WWW-Authenticate", string> = {
  "X-Request-Id": "The request's id: yours, when you sent one, else a new one. The server's log has it.",
  "X-RateLimit-Limit": "Events a minute.",
  "X-RateLimit-Remaining": "What is left of them now.",
  "X-RateLimit-Reset": "Seconds until all of them are there again, if nothing more is sent.",
  "Retry-After": "Seconds to wait before trying again.",
  "WWW-Authenticate": "How to authenticate.",
};

/** The `detail` of an Elysia route. */
export function describe(told: Operation): DocumentDecoration {
  const detail = {
    operationId: told.id,
    tags: [told.tag],
    summary: told.summary,
    description: [told.description, accessText[told.access]].filter(Boolean).join("\n\n"),
    security: security[told.access],
    [PARAMETERS]: [...pathParameters(told), ...queryParameters(told), ...headerParameters(told)],
    ...(told.body && { requestBody: requestBody(told, told.body) }),
    responses: { ...answers(told.answers), ...problems(problemsOf(told)) },
  };
  // Elysia's type wants each list mutable and knows no example of an unknown value.
  return detail as unknown as DocumentDecoration;
}

function pathParameters({ params = {} }: Operation) {
  return Object.entries(params).map(([name, [description, example]]) => ({
    name,
    in: "path",
    required: true,
    description,
    schema: { type: "string" },
    example,
  }));
}

function headerParameters({ headers = {} }: Operation) {
  return Object.entries(headers).map(([name, [description, example, pattern]]) => ({
    name,
    in: "header",
    required: false,
    // The example is said in words: as an example proper, the page would fill it in and send it.
    description: `${description} For example: ${example}`,
    schema: { type: "string", ...(pattern && { pattern }) },
  }));
}

function queryParameters({ query }: Operation) {
  if (query === undefined) return [];
  const { properties = {}, required = [] } = z.toJSONSchema(query, { io: "input" });
  return Object.entries(properties).map(([name, property]) => {
    const { description, examples: _, ...schema } = property as Record<string, unknown>;
    return { name, in: "query", required: required.includes(name), description, schema };
  });
}

function requestBody({ otherBodies = {}, bodyIsOptional = false }: Operation, body: z.ZodType) {
  const others = Object.entries(otherBodies).map(([mediaType, schema]) => [mediaType, content(schema)]);
  return {
    required: !bodyIsOptional,
    content: { "application/json": content(body), ...Object.fromEntries(others) },
  };
}

function content(schema: z.ZodType) {
  const [example] = (z.globalRegistry.get(schema)?.examples ?? []) as unknown[];
  return { schema: reference(schema), ...(example !== undefined && { example }) };
}

/** A reference to a schema with a name. */
export function reference(schema: z.ZodType): { $ref: string } {
  const name = z.globalRegistry.get(schema)?.id;
  if (name === undefined) throw new Error("a schema in the documentation needs a name");
  return { $ref: SCHEMA_PREFIX + name };
}

function answers(kinds: Operation["answers"]) {
  return Object.fromEntries(Object.entries(kinds).map(([status, kind]) => [status, answer(kind)]));
}

function answer({ description, schema, mediaType = "application/json", headers = [] }: AnswerKind) {
  const isText = schema === undefined && mediaType !== "application/json";
  return {
    description,
    headers: headerObjects(["X-Request-Id", ...headers]),
    ...(schema && { content: { [mediaType]: content(schema) } }),
    ...(isText && { content: { [mediaType]: { schema: { type: "string" } } } }),
  };
}

function headerObjects(names: readonly (keyof typeof headerText)[]) {
  return Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));
}

/** One answer for each status, with an example for each code that has it. */
function problems(codes: readonly ProblemCode[]) {
  const byStatus = Map.groupBy(codes, (code) => problemKinds[code].status);
  return Object.fromEntries([...byStatus].map(([status, same]) => [status, problem(status, same)]));
}

function problem(status: number, codes: readonly ProblemCode[]) {
  const extra: (keyof typeof headerText)[] =
    status === 401 ? ["WWW-Authenticate"] : status === 429 || status === 503 ? ["Retry-After"] : [];
  const schema = { $ref: `${SCHEMA_PREFIX}Problem` };
  const examples = codes.map((code) => [code, { $ref: `#/components/examples/${code}` }]);
  return {
    description: codes.map((code) => `\`${code}\`: ${problemKinds[code].title}.`).join(" "),
    ...(extra.length > 0 && { headers: headerObjects(extra) }),
    content: { [PROBLEM_MEDIA_TYPE]: { schema, examples: Object.fromEntries(examples) } },
  };
}

/** What `describe` refers to, beside schemas. */
export function describedComponents() {
  const headers = Object.entries(headerText).map(([name, description]) => {
    const type = /^X-RateLimit|^Retry/.test(name) ? "integer" : "string";
    return [name, { description, schema: { type } }];
  });
  const examples = (Object.keys(problemKinds) as ProblemCode[]).map((code) => {
    return [code, { summary: problemKinds[code].title, value: problemExample(code) }];
  });
  return { headers: Object.fromEntries(headers), examples: Object.fromEntries(examples), securitySchemes };
}
