// The command line as a person or a script meets it. Runs the process: from source, or the executable of BIN.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import manifest from "../../package.json" with { type: "json" };
import { SETTINGS } from "../../src/config.ts";
import { runCommand } from "../help/server.ts";
import { tempDir } from "../help/temp.ts";

let dir: string;
beforeAll(() => {
  dir = tempDir();
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const run = (...args: string[]) => runCommand(args, dir);

const COMMANDS = [
  "serve",
  "keys",
  "keys create",
  "send",
  "tail",
  "replay",
  "backup",
  "restore",
  "doctor",
  "openapi",
  "version",
];

describe("help", () => {
  test("is the same as --help, of the program and of a command", async () => {
    for (const words of ["", "send", "keys"]) {
      const [word, flag] = await Promise.all([
        run("help", ...words.split(" ").filter(Boolean)),
        run(...words.split(" ").filter(Boolean), "--help"),
      ]);
      expect(word.code).toBe(0);
      expect(word.stdout).toBe(flag.stdout);
    }
  });

  test("of a command that there is not is a mistake", async () => {
    expect((await run("help", "sned")).code).toBe(2);
  });
});

describe("--help", () => {
  test("shows every setting with its flag and default, and every command", async () => {
    const { code, stdout, stderr } = await run("--help");
    expect(code).toBe(0);
    expect(stderr).toBe("");
    for (const { flag, initial, group } of SETTINGS) {
      expect(stdout).toContain(`${group}:`);
      const line = stdout.split("\n").find((one) => one.includes(`--${flag} `));
      expect(line).toBeDefined();
      if (initial !== null) expect(line).toContain(`Default: ${initial}`);
    }
    for (const command of COMMANDS.filter((one) => !one.includes(" ")))
      expect(stdout).toMatch(new RegExp(`^  ${command} `, "m"));
  });

  test.each(COMMANDS)("is there for %s", async (command) => {
    const { code, stdout } = await run(...command.split(" "), "--help");
    expect(code).toBe(0);
    expect(stdout).toContain(`Usage: zapier-triggers ${command}`);
  });
});

test.each(["version", "--version", "-V"])(
  "%s prints the version of package.json and nothing else",
  async (word) => {
    expect(await run(word)).toEqual({ code: 0, stdout: `${manifest.version}\n`, stderr: "" });
  },
);

describe("a mistake in the command line ends with exit code 2 and a word about it:", () => {
  const mistakes: [args: string[], said: RegExp][] = [
    [["frobnicate"], /unknown command "frobnicate"/],
    [["serv"], /Did you mean serve\?/],
    [["serve", "extra"], /too many arguments/],
    [["openapi", "extra"], /too many arguments/],
    [["--prot", "3"], /Did you mean --port\?/],
    [["serve", "--data-dri", "x"], /Did you mean --data-dir\?/],
    [["--port"], /--port <NUMBER>.* missing/],
    [["--port", "x"], /PORT \(from --port\) is "x"/],
    [["serve", "--host=0.0.0.0"], /ADMIN_TOKEN=\$\(openssl rand -hex 32\)/],
    [["keys"], /Usage: zapier-triggers keys/],
    [["keys", "creat"], /Did you mean create\?/],
    [["keys", "create"], /--organization <NAME>/],
    [["keys", "create", "--organization", "A", "--tier", "gold"], /free, pro, business, enterprise/],
    [["keys", "create", "--organization", "A", "--durability", "off"], /DURABILITY/],
  ];
  test.each(mistakes)("%j", async (args, said) => {
    const { code, stdout, stderr } = await run(...args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(said);
    expect(stderr).not.toContain("    at ");
  });

  test("a misspelt variable of the environment", async () => {
    const { code, stderr } = await runCommand(["serve"], dir, { RETRY_SHEDULE: "1s" });
    expect(code).toBe(2);
    expect(stderr).toContain("RETRY_SCHEDULE");
  });

  test("a token that will not do, which is not repeated", async () => {
    const { code, stderr } = await runCommand(["serve"], dir, { ADMIN_TOKEN: "hunter2" });
    expect(code).toBe(2);
    expect(stderr).toContain("ADMIN_TOKEN");
    expect(stderr).not.toContain("hunter2");
  });
});

test("openapi prints the whole document, also into a pipe", async () => {
  const { code, stdout, stderr } = await run("openapi");
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const document = JSON.parse(stdout);
  expect(document.openapi).toStartWith("3.");
  expect(document.info.version).toBe(manifest.version);
});

describe("keys create", () => {
  test("prints the key as one line of JSON and nothing else", async () => {
    const { code, stdout, stderr } = await run(
      "keys",
      "create",
      "--organization",
      "Ärger & Söhne",
      "--tier",
      "pro",
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout.trimEnd()).not.toContain("\n");
    expect(JSON.parse(stdout)).toMatchObject({
      organization_name: "Ärger & Söhne",
      tier: "pro",
      api_key: expect.stringMatching(/^zap_live_[A-Za-z0-9_]{55}$/),
    });
  });

  test.each([
    ["names a process that is gone", { pid: 2 ** 30, url: "http://127.0.0.1:1" }],
    ["names a process that does not serve", { pid: process.pid, url: "http://127.0.0.1:1" }],
    ["names no address yet", { pid: process.pid, url: null }],
    ["is half written", '{"pid":'],
  ])("does not stumble over a server.json that %s", async (_name, said) => {
    const text =
      typeof said === "string" ? said : JSON.stringify({ ...said, started_at: "2026-01-01T00:00:00.000Z" });
    writeFileSync(path.join(dir, "server.json"), text);
    const { code, stdout } = await run("keys", "create", "--organization", "A");
    expect(code).toBe(0);
    expect(JSON.parse(stdout).tier).toBe("free");
  });
});
