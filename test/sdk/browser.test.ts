// The client in a page of a real browser, from another origin than the server's; and what makes it run anywhere: it
// imports nothing but itself, and needs no types but the web's. Without Chromium the first part says that it is
// skipped; under CI=true it fails.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cpSync } from "node:fs";
import path from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { newSigningSecret, parseSigningSecret } from "../../src/webhook/secret.ts";
import { signatureHeader } from "../../src/webhook/sign.ts";
import { args, executablePath } from "../help/chromium.ts";
import { type Organization, TestServer } from "../help/server.ts";
import { withTempDir } from "../help/temp.ts";

const ROOT = path.join(import.meta.dir, "../..");
const SDK = path.join(ROOT, "src/sdk");
const TIMEOUT_MS = 60_000;

describe.skipIf(executablePath === undefined && process.env.CI !== "true")("in a page of a browser", () => {
  let pages: Bun.Server<undefined>;
  let server: TestServer;
  let browser: Browser;
  let page: Page;
  let acme: Organization;

  beforeAll(async () => {
    const entrypoints = [path.join(SDK, "client.ts"), path.join(SDK, "verify.ts")];
    const { outputs } = await Bun.build({ entrypoints, target: "browser", format: "esm" });
    const files = new Map(outputs.map((file) => [path.join("/", file.path), file]));
    pages = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: ({ url }) =>
        new Response(files.get(new URL(url).pathname) ?? "<!doctype html><title>A page</title>", {
          headers: { "content-type": files.has(new URL(url).pathname) ? "text/javascript" : "text/html" },
        }),
    });
    server = await TestServer.start({ env: { CORS_ORIGINS: pages.url.origin } });
    browser = await chromium.launch({ executablePath: executablePath ?? "chromium", args });
  }, TIMEOUT_MS);
  afterAll(async () => {
    await browser?.close();
    await server?.stop();
    await pages?.stop(true);
  });

  /** A new page and organization. */
  const begin = async () => {
    acme = await server.organization();
    page = await (await browser.newContext()).newPage();
    await page.goto(pages.url.href);
  };
  /** Runs the body of an async function in the page; `given` and a client are there. */
  const run = (body: string, given: object = {}): Promise<unknown> =>
    page.evaluate(`(async ({ url, key, given }) => {
      const { Triggers } = await import("/client.js");
      const triggers = new Triggers({ url, key });
      ${body}
    })(${JSON.stringify({ url: server.url, key: acme.key, given })})`);

  test(
    "it sends, reads, leases and is refused as anywhere",
    async () => {
      await begin();
      const told = await run(`
        const { status } = await triggers.send({ type: "t", payloadText: "1.0", dedupId: "d" });
        const again = await triggers.send({ type: "t", payload: 1, dedupId: "d" });
        const batch = await triggers.sendBatch([{ type: "t", payload: 2 }, { type: "no type", payload: 3 }]);
        const read = [];
        for await (const { payloadText } of triggers.inbox({ order: "asc" })) read.push(payloadText);
        const stop = new AbortController();
        const left = new Set(["1", "2"]);
        const handler = ({ payload }) => {
          left.delete(String(payload));
          if (left.size === 0) stop.abort();
        };
        const worked = await triggers.work(handler, { signal: stop.signal });
        const wrong = await new Triggers({ url, key: "k" }).send({ type: "t", payload: 1 }).catch((one) => one);
        return { status, again: again.status, batch: [batch.accepted, batch.rejected], read, worked, wrong: wrong.code };
      `);
      expect(told).toEqual({
        status: "accepted",
        again: "duplicate",
        batch: [1, 1],
        read: ["1.0", "2"],
        worked: { done: 2, failed: 0, returned: 0 },
        wrong: "invalid_api_key",
      });
      await page.context().close();
    },
    TIMEOUT_MS,
  );

  test(
    "it puts the inbox and the stream together, each event once, though the page's clock is wrong",
    async () => {
      await begin();
      await acme.api.post("/api/events", { type: "t", payload: "before" });
      await page.clock.setFixedTime(Date.now() + 3_600_000);
      // The stream is open when the inbox is read: an event that comes just then is in both.
      await page.route(/\/api\/inbox\?/, async (route) => {
        await acme.api.post("/api/events", { type: "t", payload: "between" });
        await route.continue();
      });
      const told = await run(`
        const seen = [];
        for await (const { payload } of triggers.stream({ since: "2020-01-01T00:00:00Z" })) {
          seen.push(payload);
          if (payload === "between" && seen.length === 2) await triggers.send({ type: "t", payload: "after" });
          if (payload === "after") return seen;
        }
      `);
      expect(told).toEqual(["before", "between", "after"]);
      await page.context().close();
    },
    TIMEOUT_MS,
  );

  test(
    "it verifies a webhook, and refuses a changed one",
    async () => {
      await begin();
      const body = '{"id":"e","type":"t","timestamp":"x","data":1.0}';
      const secret = newSigningSecret();
      const parsed = parseSigningSecret(secret);
      const at = Math.floor(Date.now() / 1_000);
      const headers = {
        "webhook-id": "e",
        "webhook-timestamp": String(at),
        "webhook-signature": signatureHeader(parsed.ok ? [parsed.key] : [], "e", at, body),
      };
      const told = await run(
        `const { verifyWebhook } = await import("/verify.js");
        const { payloadText } = await verifyWebhook(given);
        const forged = await verifyWebhook({ ...given, body: given.body + " " }).catch(({ code }) => code);
        return { payloadText, forged };`,
        { secret, headers, body },
      );
      expect(told).toEqual({ payloadText: "1.0", forged: "wrong_signature" });
      await page.context().close();
    },
    TIMEOUT_MS,
  );
});

test("the client imports nothing but itself", async () => {
  for await (const file of new Bun.Glob("**/*").scan(SDK)) {
    const text = await Bun.file(path.join(SDK, file)).text();
    // "from", a bare import, and calls, in either kind of quotes.
    const imported = [...text.matchAll(/\b(?:from|import|require)\s*\(?\s*["'`]([^"'`]+)["'`]/g)];
    const strange = imported.map(([, from]) => from).filter((from) => !from?.startsWith("./"));
    expect({ file, strange }).toEqual({ file, strange: [] });
  }
});

/** How a project that has the folder may be set up; the types are those of the language and the web. */
const PROJECTS = {
  "a bundler's": {
    module: "ESNext",
    moduleResolution: "bundler",
    allowImportingTsExtensions: true,
    noEmit: true,
  },
  "one that tsc writes JavaScript for": { module: "NodeNext", rewriteRelativeImportExtensions: true },
};
test.each(Object.entries(PROJECTS))("the client, copied, type-checks in %s project", (_name, own) =>
  withTempDir(async (dir) => {
    cpSync(SDK, path.join(dir, "triggers"), { recursive: true });
    await Bun.write(path.join(dir, "package.json"), '{"type":"module"}');
    const strict = { strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true };
    const compilerOptions = { target: "ES2022", lib: ["ES2022", "DOM"], types: [], ...strict, ...own };
    await Bun.write(
      path.join(dir, "tsconfig.json"),
      JSON.stringify({ compilerOptions, include: ["triggers"] }),
    );
    const tsc = path.join(ROOT, "node_modules/.bin/tsc");
    const child = Bun.spawn([process.execPath, tsc, "-p", dir], { stdout: "pipe", stderr: "inherit" });
    const said = await new Response(child.stdout).text();
    expect({ code: await child.exited, said }).toEqual({ code: 0, said: "" });
  }),
);
