// The OpenAPI document: valid, complete, and true to the tables that it is made from.

import { describe, expect, test } from "bun:test";
import { Validator } from "@seriousme/openapi-schema-validator";
import { openapiDocument } from "../../src/http/openapi.ts";
import { problemKinds } from "../../src/http/problem.ts";

// biome-ignore lint/suspicious/noExplicitAny: a document is looked into field by field
type Json = any;

const document: Json = await openapiDocument();
const operations: [string, Json][] = Object.entries<Json>(document.paths).flatMap(([path, item]) =>
  Object.entries<Json>(item).map(([method, told]): [string, Json] => [
    `${method.toUpperCase()} ${path}`,
    told,
  ]),
);

/** What takes CloudEvents besides. */
const CLOUD_EVENTS: Readonly<Record<string, readonly string[]>> = {
  "POST /api/events": ["application/cloudevents+json"],
  "POST /api/events/batch": ["application/cloudevents-batch+json"],
};

describe("the OpenAPI document", () => {
  test("is valid", async () => {
    const { valid, errors } = await new Validator().validate(structuredClone(document));
    expect(errors ?? []).toEqual([]);
    expect(valid).toBe(true);
  });

  test("has every call of this version", () => {
    expect(operations.map(([name]) => name).sort()).toEqual([
      "DELETE /api/admin/organizations/{id}",
      "DELETE /api/endpoints/{id}",
      "DELETE /api/events/{id}",
      "DELETE /api/keys/{key_id}",
      "DELETE /api/webhook/config",
      "GET /api/admin/audit",
      "GET /api/admin/organizations",
      "GET /api/admin/organizations/{id}",
      "GET /api/admin/organizations/{id}/export",
      "GET /api/deliveries",
      "GET /api/deliveries/{id}",
      "GET /api/endpoints",
      "GET /api/endpoints/{id}",
      "GET /api/events/{id}",
      "GET /api/events/{id}/explain",
      "GET /api/inbox",
      "GET /api/inbox/stream",
      "GET /api/keys",
      "GET /api/replays/{id}",
      "GET /api/webhook/config",
      "GET /health",
      "GET /health/live",
      "GET /health/ready",
      "GET /metrics",
      "PATCH /api/admin/organizations/{id}",
      "PATCH /api/endpoints/{id}",
      "POST /api/ack",
      "POST /api/ack/{event_id}",
      "POST /api/deliveries/{id}/retry",
      "POST /api/endpoints",
      "POST /api/endpoints/{id}/disable",
      "POST /api/endpoints/{id}/enable",
      "POST /api/endpoints/{id}/replay",
      "POST /api/endpoints/{id}/rotate-secret",
      "POST /api/endpoints/{id}/test",
      "POST /api/events",
      "POST /api/events/batch",
      "POST /api/events/delete",
      "POST /api/inbox/ack",
      "POST /api/inbox/extend",
      "POST /api/inbox/lease",
      "POST /api/inbox/release",
      "POST /api/keys",
      "POST /api/keys/generate",
      "POST /api/keys/rotate",
      "POST /api/webhook/config",
    ]);
  });

  test.each(operations)("%s says what it does, needs and answers", (_, told) => {
    expect(told.summary).toBeString();
    expect(told.description).toBeString();
    expect(told.operationId).toMatch(/^[a-z][A-Za-z]+$/);
    expect(document.tags.map((tag: Json) => tag.name)).toContain(told.tags[0]);
    expect(told.security).toBeArray();
    expect(Object.keys(told.responses).some((status) => status.startsWith("2"))).toBe(true);
    for (const parameter of told.parameters) expect(parameter.description).toBeString();
  });

  test.each(operations)("%s takes JSON alone and refuses with problem documents alone", (name, told) => {
    const others = CLOUD_EVENTS[name] ?? [];
    if (told.requestBody) {
      expect(Object.keys(told.requestBody.content)).toEqual(["application/json", ...others]);
    }
    for (const [status, response] of Object.entries<Json>(told.responses)) {
      if (Number(status) < 400) continue;
      expect(Object.keys(response.content)).toEqual(["application/problem+json"]);
      const names = Object.keys(response.content["application/problem+json"].examples);
      expect(names.length).toBeGreaterThan(0);
      for (const name of names) {
        const kind: { status: number } = problemKinds[name as keyof typeof problemKinds];
        expect(kind.status).toBe(Number(status));
      }
    }
  });

  test("describes every field of every body and answer", () => {
    const isSilent = (property: Json) =>
      !property.description && !property.$ref && !property.items?.$ref && property.const === undefined;
    const silent = Object.entries<Json>(document.components.schemas).flatMap(([name, { properties = {} }]) =>
      Object.keys(properties)
        .filter((field) => isSilent(properties[field]))
        .map((field) => `${name}.${field}`),
    );
    expect(silent).toEqual([]);
  });

  test("refers to nothing that is not there", () => {
    const references = JSON.stringify(document).match(/"\$ref":"#[^"]+"/g) ?? [];
    expect(references.length).toBeGreaterThan(20);
    for (const reference of new Set(references)) {
      const path = reference.slice('"$ref":"#/'.length, -1).split("/");
      expect(path.reduce((at: Json, step) => at?.[step], document)).toBeObject();
    }
  });

  test("lets a key be made without authorization, for open mode", () => {
    expect(document.paths["/api/keys/generate"].post.security).toContainEqual({});
  });

  test("never shows the word of how it was made", () => {
    expect(JSON.stringify(document)).not.toMatch(/x-parameters|\$defs|\$id|~standard/);
  });
});
