// The banner, and its lines as a newcomer uses them: pasted into a shell in order.

import { afterAll, beforeAll, expect, test } from "bun:test";
import { banner, tryLines } from "../../src/cli/banner.ts";
import { type Config, loadConfig } from "../../src/config.ts";
import { TestServer } from "../help/server.ts";

let server: TestServer;
beforeAll(async () => {
  server = await TestServer.start();
});
afterAll(() => server.stop());

function config(env: Record<string, string> = {}): Config {
  const loaded = loadConfig(env, {});
  if (!loaded.ok) throw new Error(loaded.detail);
  return loaded.config;
}

test("pasted into a shell, its lines make a key, send an event and read it from the inbox", async () => {
  const shell = Bun.spawn(["sh", "-e", "-c", tryLines(server.url).join("\n")], {
    stdout: "pipe",
    stderr: "pipe",
  });
  const said = await new Response(shell.stdout).text();
  expect(await new Response(shell.stderr).text()).toBe("");
  expect(await shell.exited).toBe(0);
  expect(said).toMatch(/^zap_live_[A-Za-z0-9_]{55}\n/);
  expect(said).toContain('"status":"accepted"');
  expect(said).toContain('"type":"order.created"');
  expect(said).toContain('"payload":{"order":1}');
});

test("it tells where the API, its documentation and the data are, and how durable a 202 is", () => {
  const text = banner(config({ DATA_DIR: "/srv/d" }), "http://127.0.0.1:3000", "1.2.3");
  expect(text).toContain("Zapier Triggers 1.2.3");
  expect(text).toContain("http://127.0.0.1:3000/docs");
  expect(text).toContain("/srv/d");
  expect(text).toContain("on disk before the answer");
  expect(text).toContain("Open mode");
});

test("with ADMIN_TOKEN there is no open mode to offer, and the token is not shown", () => {
  const ADMIN_TOKEN = "0123456789abcdef";
  const text = banner(config({ ADMIN_TOKEN, DURABILITY: "normal" }), "http://127.0.0.1:3000", "1.2.3");
  expect(text).not.toContain("Open mode");
  expect(text).not.toContain(ADMIN_TOKEN);
  expect(text).toContain("not of the machine");
  expect(text).toContain("keys create");
});
