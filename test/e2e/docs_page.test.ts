// The documentation page in a real browser, without internet: Chromium, headless. Where there is none, the tests say
// that they are skipped; under CI=true they fail.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import path from "node:path";
import { type Browser, chromium, type Page } from "playwright-core";
import { args, executablePath } from "../help/chromium.ts";
import { TestServer } from "../help/server.ts";

const TIMEOUT_MS = 60_000;

describe.skipIf(executablePath === undefined && process.env.CI !== "true")("the documentation page", () => {
  let server: TestServer;
  let browser: Browser;

  beforeAll(async () => {
    server = await TestServer.start();
    browser = await chromium.launch({ executablePath: executablePath ?? "chromium", args });
  }, TIMEOUT_MS);

  afterAll(async () => {
    await browser?.close();
    await server?.stop();
  });

  test(
    "loads nothing from another origin, breaks no policy and logs no error",
    async () => {
      const { page, origins, complaints } = await open(browser, server);
      await page.locator("#operations-Events-sendEvent").waitFor();
      expect(await page.locator(".info .title").textContent()).toContain("Zapier Triggers API");
      expect(await page.locator(".opblock-tag").count()).toBe(8);
      expect([...origins]).toEqual([server.url]);
      expect(complaints).toEqual([]);
      await page.context().close();
    },
    TIMEOUT_MS,
  );

  test(
    "authorizes with a key that is pasted, and sends an event with it",
    async () => {
      const { api, key } = await server.organization({ tier: "free" });
      const { page, origins, complaints } = await open(browser, server);
      await page.locator(".btn.authorize").first().click();
      const dialog = page.locator(".auth-container", { hasText: "X-API-Key" });
      await dialog.locator("input").fill(key);
      await dialog.locator("button.authorize").click();
      await page.locator("button.btn-done").first().click();

      expect(await execute(page, "Events-sendEvent")).toStartWith("202");

      const { events } = (await api.get("/api/inbox")).body;
      expect(events.map((event: { type: string }) => event.type)).toEqual(["order.created"]);
      expect([...origins]).toEqual([server.url]);
      expect(complaints).toEqual([]);
      await keepPicture(page, "authorized");
      await page.context().close();
    },
    TIMEOUT_MS,
  );

  test(
    "takes a stranger from no key to an event in the inbox with three presses of Execute",
    async () => {
      const { page } = await open(browser, server);
      expect(await execute(page, "Keys-generateKey")).toStartWith("201");
      expect(await execute(page, "Events-sendEvent")).toStartWith("202");
      expect(await execute(page, "Inbox-readInbox")).toStartWith("200");
      const answer = page.locator(
        "#operations-Inbox-readInbox .live-responses-table .response-col_description",
      );
      expect(await answer.nth(1).textContent()).toContain("order.created");
      await keepPicture(page, "first_minute");
      await page.context().close();
    },
    TIMEOUT_MS,
  );

  test(
    "forgets the key at a reload",
    async () => {
      const { page } = await open(browser, server);
      expect(await execute(page, "Keys-generateKey")).toStartWith("201");
      await page.reload();
      expect(await execute(page, "Keys-getKeys")).toStartWith("401");
      expect(await page.evaluate("JSON.stringify([{ ...localStorage }, { ...sessionStorage }])")).toBe(
        "[{},{}]",
      );
      await page.context().close();
    },
    TIMEOUT_MS,
  );
});

/** A fresh page at /docs, with the origins it asked and what its console complained about. */
async function open(browser: Browser, server: TestServer) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 1600 } });
  const page = await context.newPage();
  const origins = new Set<string>();
  const complaints: string[] = [];
  page.on("request", (request) => {
    if (!request.url().startsWith("data:")) origins.add(new URL(request.url()).origin);
  });
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(`${server.url}/docs`);
  return { page, origins, complaints };
}

/** Opens an operation, presses Execute and returns the status that the page shows. */
async function execute(page: Page, operation: string): Promise<string | null> {
  const block = page.locator(`#operations-${operation}`);
  await block.locator(".opblock-summary-control").click();
  await block.locator("button.execute").click();
  return block.locator(".live-responses-table .response-col_status").nth(1).textContent();
}

/** For a person to look at: PICTURES=directory keeps what the page looked like. */
async function keepPicture(page: Page, name: string): Promise<void> {
  const directory = process.env.PICTURES;
  if (directory !== undefined) await page.screenshot({ path: path.join(directory, `${name}.png`) });
}
