// `serve`: what it says when it is up or cannot be, the lines it gives to paste, and signals.

import { afterEach, expect, test } from "bun:test";
import { connect } from "node:net";
import { runCommand, TestServer } from "../help/server.ts";
import { tempDir } from "../help/temp.ts";

const running: TestServer[] = [];
afterEach(async () => {
  for (const server of running.splice(0)) await server.kill("SIGKILL");
});

async function start(env: Record<string, string> = {}): Promise<TestServer> {
  const server = await TestServer.start({ env });
  running.push(server);
  return server;
}

test("as a service it says in one JSON line where it listens and what it promises", async () => {
  const server = await start();
  const [line = ""] = server.output.split("\n");
  expect(JSON.parse(line)).toMatchObject({
    level: "info",
    msg: "listening",
    url: server.url,
    docs: `${server.url}/docs`,
    data_dir: server.dataDir,
    durability: "full",
    open_mode: true,
  });
});

test("without a command it serves, and a flag wins over the environment", async () => {
  const { code, stderr } = await runCommand(["--port", "x"], tempDir(), { PORT: "0" });
  expect(code).toBe(2);
  expect(stderr).toContain("from --port");
});

test("a port that is taken is told in a sentence, with exit code 1", async () => {
  const server = await start();
  const { port } = new URL(server.url);
  const { code, stdout, stderr } = await runCommand(["serve"], tempDir(), { PORT: port });
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toContain(`127.0.0.1:${port} is taken`);
  expect(stderr.trimEnd()).not.toContain("\n");
});

test("an address of another machine is told in a sentence, with exit code 1", async () => {
  // TEST-NET-1 of RFC 5737: never an address of this machine.
  const env = { HOST: "192.0.2.1", ADMIN_TOKEN: "0123456789abcdef" };
  const { code, stderr } = await runCommand(["serve"], tempDir(), env);
  expect(code).toBe(1);
  expect(stderr).toContain("192.0.2.1");
  expect(stderr.trimEnd()).not.toContain("\n");
});

test.each([["serve"], ["keys create --organization A"]])(
  "a data directory that cannot be is told in a sentence by %s, with exit code 1",
  async (command) => {
    const { code, stdout, stderr } = await runCommand(command.split(" "), tempDir(), {
      DATA_DIR: "/dev/null/x",
    });
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toContain("DATA_DIR /dev/null/x cannot be used");
    expect(stderr.trimEnd()).not.toContain("\n");
  },
);

test("keys create asks the server that runs, with ADMIN_TOKEN where it wants one", async () => {
  const ADMIN_TOKEN = "0123456789abcdef";
  const server = await start({ ADMIN_TOKEN });
  const args = ["keys", "create", "--organization", "A"];
  const refused = await runCommand(args, server.dataDir);
  expect({ code: refused.code, stdout: refused.stdout }).toEqual({ code: 1, stdout: "" });
  expect(refused.stderr).toContain("ADMIN_TOKEN");
  const made = await runCommand(args, server.dataDir, { ADMIN_TOKEN });
  expect(made.code).toBe(0);
  const keys = await server.api(JSON.parse(made.stdout).api_key).get("/api/keys");
  expect(keys.body.organization_name).toBe("A");
});

test("a name that the server refuses is a failure with the server's own words", async () => {
  const server = await start();
  const args = ["keys", "create", "--organization", "x".repeat(256)];
  const { code, stdout, stderr } = await runCommand(args, server.dataDir);
  expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
  expect(stderr).toContain("422");
});

const secondSignals = [
  ["SIGTERM", "SIGTERM", 143],
  ["SIGTERM", "SIGINT", 130],
  ["SIGINT", "SIGTERM", 143],
] as const;
test.each(secondSignals)(
  "in the middle of a request, %s waits but a %s after it ends all, with %p",
  async (first, second, code) => {
    const server = await start();
    const { key } = await server.organization();
    await openRequest(server.url, key);
    process.kill(server.pid, first);
    await output(server, '"msg":"stopping"');
    expect(await server.kill(second)).toBe(code);
  },
);

/** A request whose body never ends; resolves when the server asks for it, and so waits for it. */
async function openRequest(url: string, key: string): Promise<void> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  const asked = Promise.withResolvers<string>();
  socket.on("error", asked.reject);
  socket.on("data", (bytes) => asked.resolve(bytes.toString()));
  socket.write(
    `POST /api/events HTTP/1.1\r\nHost: x\r\nX-API-Key: ${key}\r\nContent-Type: application/json\r\n` +
      "Content-Length: 100\r\nExpect: 100-continue\r\n\r\n",
  );
  expect(await asked.promise).toStartWith("HTTP/1.1 100 ");
}

async function output(server: TestServer, text: string): Promise<void> {
  // Each look yields to the reader of the pipe; there is nothing else to wait for.
  while (!server.output.includes(text)) await new Promise((resolve) => setImmediate(resolve));
}
