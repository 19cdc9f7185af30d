// The OpenAPI document: what @elysiajs/openapi makes of the routes, and what it cannot know. Surprise: the plugin's
// own parameters are thrown away (it knows only a path's names), and no schema is given to it, because it would list
// form encodings that no route takes; describe.ts tells both.

import type { AnyElysia } from "elysia";
import { z } from "zod";
import { Problem } from "../wire/problem.ts";
import { describedComponents, PARAMETERS, reference, SCHEMA_PREFIX } from "./describe.ts";
import { introduction } from "./introduction.ts";
import { tags } from "./operation.ts";
import { describeRoutes } from "./route.ts";

type Json = Record<string, unknown>;

/** The document of an app's routes. */
export async function documentOf(app: AnyElysia, version: string): Promise<object> {
  // Loaded when it is asked for: it takes longer to load than all the rest of the server.
  const { toOpenAPISchema } = await import("@elysiajs/openapi");
  describeRoutes(app);
  const { paths } = toOpenAPISchema(app);
  return {
    openapi: "3.1.2",
    info: {
      title: "Zapier Triggers API",
      version,
      description: introduction,
      license: { name: "MIT", identifier: "MIT" },
    },
    tags: tags.map(([name, description]) => ({ name, description })),
    paths: Object.fromEntries(Object.entries(paths).map(([path, item]) => [path, pathItem(item as Json)])),
    components: { ...describedComponents(), schemas: namedSchemas() },
  };
}

function pathItem(item: Json): Json {
  return Object.fromEntries(
    Object.entries(item).map(([method, told]) => {
      const { [PARAMETERS]: parameters = [], ...operation } = told as Json;
      return [method, { ...operation, parameters }];
    }),
  );
}

/** Every zod schema with a name, as a body or an answer refers to it. */
function namedSchemas(): Json {
  reference(Problem);
  const uri = (name: string) => SCHEMA_PREFIX + name;
  // "input": a field with a default may be left out, and answers may gain fields in a later version.
  const { schemas } = z.toJSONSchema(z.globalRegistry, { uri, io: "input" });
  return Object.fromEntries(
    Object.entries(schemas).map(([name, { $schema: _, $id: __, ...schema }]) => [name, schema]),
  );
}
