// The README as a newcomer follows it: its start command in a fresh clone, and its curl lines as they stand.

import { expect, test } from "bun:test";
import path from "node:path";
import { startProcess } from "../../scripts/listening.ts";
import { tempDir } from "../help/temp.ts";

const root = path.join(import.meta.dir, "../..");
const readme = await Bun.file(path.join(root, "README.md")).text();
const start = /^npx -y bun@\S+ run start$/m.exec(readme)?.[0];
const curls = /```sh\n(KEY=\$\(curl[\s\S]*?)```/.exec(readme)?.[1];
const isClone = Bun.spawnSync(["git", "rev-parse", "HEAD"], { cwd: root }).exitCode === 0;

if (!isClone && process.env.CI) throw new Error("CI must run in a clone: this test may not be skipped there");

// The executable has no part in this: once, from source, is enough.
test.skipIf(!isClone || process.env.BIN !== undefined)(
  "the README's start command serves in a fresh clone, and its curl lines make a key, send and read an event",
  async () => {
    if (!start || !curls) throw new Error("the README lost its first minute");
    const clone = path.join(tempDir(), "clone");
    expect(Bun.spawnSync(["git", "clone", "--quiet", root, clone]).exitCode).toBe(0);
    const server = await startProcess(start.split(" "), {
      cwd: clone,
      env: { HOME: process.env.HOME ?? clone, PORT: "0" },
    });
    try {
      const script = curls.replaceAll("http://127.0.0.1:3000", server.url);
      const run = Bun.spawnSync(["bash", "-euo", "pipefail", "-c", script]);
      const output = run.stdout.toString();
      expect(output).toMatch(/^zap_live_\w{55}$/m);
      const id = /"id":"([0-9a-f-]{36})","status":"accepted"/.exec(output)?.[1];
      expect(id).toBeDefined();
      expect(output).toContain(`{"events":[{"id":"${id}"`);
    } finally {
      const pid = /"pid":(\d+)/.exec(await Bun.file(path.join(clone, "data/server.json")).text())?.[1];
      process.kill(Number(pid), "SIGTERM");
      await server.child.exited;
    }
  },
  300_000,
);

test("the README's test command is the one that CI runs", async () => {
  const command = /npx -y bun@\S+ run test\b/.exec(readme)?.[0];
  expect(command).toBeDefined();
  expect(await Bun.file(path.join(root, ".ci/run")).text()).toContain(command ?? "");
});
