// The OpenAPI document as the server itself serves it, asked about answers: is this status there, this media type, do
// the headers and the body fit? Surprise: stricter than the document. It leaves room for fields of later versions; here
// a field that it does not name is a complaint, because a field that nobody documented is how data leak.

import { z } from "zod";
import type { Answer, TestServer } from "../help/server.ts";

// biome-ignore lint/suspicious/noExplicitAny: a document is looked into field by field
type Json = any;

type Operation = { readonly method: string; readonly template: string; readonly told: Json };

export class ServedDocument {
  readonly #document: Json;
  readonly #operations: readonly Operation[];
  readonly #schemas = new Map<string, z.ZodType>();
  readonly #definitions: Json;

  private constructor(document: Json) {
    this.#document = document;
    this.#operations = Object.entries<Json>(document.paths).flatMap(([template, item]) =>
      Object.entries<Json>(item).map(([method, told]) => ({ method: method.toUpperCase(), template, told })),
    );
    this.#definitions = strict(document.components.schemas);
  }

  static async of(server: TestServer): Promise<ServedDocument> {
    return new ServedDocument((await server.api().get("/docs/json")).body);
  }

  /** Every call as "METHOD /path/{with}/{parameters}". */
  get calls(): readonly string[] {
    return this.#operations.map(({ method, template }) => `${method} ${template}`);
  }

  /** The call that a request is, in the same form; null when the document has none. */
  callOf(method: string, path: string): string | null {
    const found = this.#operation(method, path);
    return found === null ? null : `${found.method} ${found.template}`;
  }

  /** What is wrong with an answer, by the document; nothing when it fits. */
  complaints(method: string, path: string, answer: Answer): readonly string[] {
    const operation = this.#operation(method, path);
    const response =
      operation === null ? this.#problemOf(answer.status) : operation.told.responses[answer.status];
    if (response === undefined) return [`the status ${answer.status} is not documented`];
    return [...this.#missingHeaders(response, answer), ...this.#bodyComplaints(response, answer)];
  }

  #operation(method: string, path: string): Operation | null {
    const [pathname = ""] = path.split("?", 1);
    const fitting = this.#operations.filter(
      (one) => one.method === method && patternOf(one.template).test(pathname),
    );
    // A path that is written out goes before one with a parameter.
    return fitting.sort((a, b) => parameters(a) - parameters(b))[0] ?? null;
  }

  /** Unknown paths and methods are in no operation: they are refused as all else is. */
  #problemOf(status: number): Json {
    const content = { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } };
    return status === 404 || status === 405 ? { content } : undefined;
  }

  #missingHeaders({ headers = {} }: Json, answer: Answer): string[] {
    return Object.entries<Json>(headers).flatMap(([name, header]) => {
      const value = answer.headers.get(name);
      if (value === null) return [`the header ${name} is not there`];
      const { schema } = this.#resolved(header);
      return schema.type === "integer" && !/^\d+$/.test(value) ? [`the header ${name} is ${value}`] : [];
    });
  }

  #bodyComplaints({ content }: Json, answer: Answer): string[] {
    if (content === undefined) return answer.text === "" ? [] : ["there is a body"];
    const mediaType = bare(answer.headers.get("content-type") ?? "");
    const media = Object.entries<Json>(content).find(([name]) => bare(name) === mediaType)?.[1];
    if (media === undefined) return [`the media type ${mediaType} is not documented`];
    if (media.schema.$ref === undefined) return []; // a text
    const result = this.#schema(media.schema.$ref).safeParse(JSON.parse(answer.text));
    return result.success ? [] : [z.prettifyError(result.error)];
  }

  #schema(reference: string): z.ZodType {
    const known = this.#schemas.get(reference);
    if (known !== undefined) return known;
    const $ref = reference.replace("#/components/schemas/", "#/$defs/");
    const made = z.fromJSONSchema({ $ref, $defs: this.#definitions });
    this.#schemas.set(reference, made);
    return made;
  }

  #resolved(value: Json): Json {
    if (value.$ref === undefined) return value;
    const steps: string[] = value.$ref.slice(2).split("/");
    return steps.reduce((at: Json, step) => at[step], this.#document);
  }
}

/** A media type without its parameters. */
const bare = (mediaType: string) => mediaType.split(";")[0]?.trim().toLowerCase() ?? "";

function patternOf(template: string): RegExp {
  return new RegExp(`^${template.replace(/\{\w+\}/g, "[^/]+")}$`);
}

const parameters = ({ template }: Operation) => template.split("{").length;

/** The same schemas as JSON Schema's own definitions, each object without room for other members. */
function strict(value: Json): Json {
  if (Array.isArray(value)) return value.map(strict);
  if (typeof value !== "object" || value === null) return value;
  const copy = Object.fromEntries(Object.entries(value).map(([key, part]) => [key, strict(part)]));
  if (typeof copy.$ref === "string") copy.$ref = copy.$ref.replace("#/components/schemas/", "#/$defs/");
  if (copy.type === "object" && copy.properties !== undefined) copy.additionalProperties ??= false;
  return copy;
}
