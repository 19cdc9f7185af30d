// /docs: Swagger UI, from files inside the executable, and the document it shows. Surprise: no other origin is ever
// asked and no inline script runs (see the policy below), so it works without internet. The key that one authorizes
// with is forgotten at a reload: kept, it would lie readable in the browser's storage.

import { type AnyElysia, Elysia } from "elysia";
import icon from "swagger-ui-dist/favicon-32x32.png" with { type: "file" };
import uiStyle from "swagger-ui-dist/swagger-ui.css" with { type: "file" };
import uiScript from "swagger-ui-dist/swagger-ui-bundle.js" with { type: "file" };
import type { Answer, Kit } from "../call.ts";
import type { Deps } from "../deps.ts";
import { documentOf } from "../document.ts";
import { hidden } from "../route.ts";

const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; " +
  "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Zapier Triggers API</title>
<link rel="icon" type="image/png" href="docs/favicon.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript. The document itself is at <a href="docs/json">docs/json</a>.</noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/init.js"></script>
</body>
</html>
`;

/** A key that was just made here is authorized with at once: the next call works without copying it. */
const INIT = `"use strict";
const makesFirstKey = /\\/api\\/keys\\/(generate|rotate)$/;
window.ui = SwaggerUIBundle({
  url: "docs/json",
  dom_id: "#swagger-ui",
  validatorUrl: null,
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  persistAuthorization: false,
  responseInterceptor(response) {
    if (response.ok && makesFirstKey.test(new URL(response.url, location.href).pathname)) {
      const { api_key: key } = JSON.parse(response.text);
      window.ui.preauthorizeApiKey("ApiKey", key);
    }
    return response;
  },
});
`;

const HEADERS = {
  "content-security-policy": POLICY,
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "cache-control": "no-cache",
};

/** @param documented the routes that the document is about */
export function docsRoutes(kit: Kit, { version }: Deps, documented: AnyElysia) {
  let json: Promise<string> | null = null;
  const documentText = () => {
    json ??= documentOf(documented, version).then((told) => JSON.stringify(told));
    return json;
  };
  const text = (mediaType: string, body: string) => kit.page((request) => page(request, mediaType, body));
  const file = (mediaType: string, path: string) =>
    kit.page((request) => page(request, mediaType, Bun.file(path)));

  return new Elysia()
    .get(
      "/",
      kit.page(() => ({ status: 307, body: null, headers: { location: "/docs" } })),
      hidden,
    )
    .get("/docs", text("text/html; charset=utf-8", PAGE), hidden)
    .get("/docs/init.js", text("text/javascript; charset=utf-8", INIT), hidden)
    .get("/docs/swagger-ui-bundle.js", file("text/javascript; charset=utf-8", uiScript), hidden)
    .get("/docs/swagger-ui.css", file("text/css; charset=utf-8", uiStyle), hidden)
    .get("/docs/favicon.png", file("image/png", icon), hidden)
    .get(
      "/docs/json",
      kit.page(async (request) => page(request, "application/json", await documentText())),
      hidden,
    );

  /** Asked again each time, sent only when it is another one: a new version shows at the next reload. */
  function page(request: Request, mediaType: string, body: string | Blob): Answer {
    const content = typeof body === "string" ? Bun.hash(body).toString(36) : body.size.toString(36);
    const headers = { ...HEADERS, etag: `"${version}-${content}"` };
    const isKnown = request.headers.get("if-none-match") === headers.etag;
    return isKnown ? { status: 304, body: null, headers } : { status: 200, body, mediaType, headers };
  }
}
