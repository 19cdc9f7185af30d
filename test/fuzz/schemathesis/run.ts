// `bun run fuzz:api [--seconds=N] [--seed=N]`: every call of the served OpenAPI document with good, bad and hostile
// input, by schemathesis, against a real server (from source, or the executable of BIN). Fails on a 5xx, a hang, and
// any answer that the document does not tell. Needs python3-venv; schemathesis itself comes from PyPI into a temporary
// directory, at the versions of requirements.txt, unless SCHEMATHESIS names an installed one.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { TestServer } from "../../help/server.ts";
import { ADMIN_TOKEN, asAdmin } from "../tenant.ts";

const HERE = import.meta.dir;
const METRICS_TOKEN = "metrics-token-of-the-fuzzer-0123456789";
/** The seconds that it is told are for fuzzing; the phases before take what they take. */
const GRACE_SECONDS = 120;

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "75" },
    seed: { type: "string", default: String(crypto.getRandomValues(new Uint32Array(1))[0]) },
  },
});
const temporary = mkdtempSync(path.join(tmpdir(), "zapier-triggers-schemathesis-"));
try {
  process.exitCode = await fuzz();
} finally {
  rmSync(temporary, { recursive: true, force: true });
}
process.exit();

async function fuzz(): Promise<number> {
  const schemathesis = process.env.SCHEMATHESIS ?? (await install());
  // Nothing is sent: an endpoint that is made up may be somebody's.
  const env = { ADMIN_TOKEN, METRICS_TOKEN, DISABLE_WEBHOOK_DELIVERY: "true" };
  const server = await TestServer.start({ env });
  try {
    console.log(`schemathesis: seed ${values.seed}`);
    const code = await examine(schemathesis, server);
    return (await isWell(server)) ? code : 1;
  } finally {
    await server.stop();
    rmSync(server.dataDir, { recursive: true, force: true });
  }
}

async function install(): Promise<string> {
  await run(["python3", "-m", "venv", temporary]);
  const requirements = path.join(HERE, "requirements.txt");
  const pip = path.join(temporary, "bin/pip");
  await run([pip, "install", "--quiet", "--disable-pip-version-check", "--requirement", requirements]);
  return path.join(temporary, "bin/st");
}

async function examine(schemathesis: string, server: TestServer): Promise<number> {
  const [own, other] = [await organization(server), await organization(server)];
  const env = {
    SERVER_URL: server.url,
    API_KEY: own.key,
    KEY_ID: own.keyId,
    ADMIN_TOKEN,
    METRICS_TOKEN,
    ORGANIZATION_ID: own.id,
    OTHER_ORGANIZATION_ID: other.id,
  };
  const limits = ["--max-time", values.seconds, "--seed", values.seed];
  const command = [schemathesis, "run", `${server.url}/docs/json`, "--url", server.url, ...limits];
  return await run(command, env, (Number(values.seconds) + GRACE_SECONDS) * 1_000);
}

/** With something of each kind, so that lists are not empty. */
async function organization(server: TestServer): Promise<{ id: string; key: string; keyId: string }> {
  const body = { organization_name: "Fuzzed", tier: "enterprise" };
  const made = (await server.api().post("/api/keys/generate", body, asAdmin)).body;
  const api = server.api(made.api_key);
  for (const type of ["order.created", "order.paid"])
    await api.post("/api/events", { type, payload: { type } });
  await api.post("/api/endpoints", { url: "https://example.com/hook", event_types: ["*"] });
  await api.post("/api/events", { type: "order.sent", payload: null, dedup_id: "sent" });
  return { id: made.organization_id, key: made.api_key, keyId: made.key_id };
}

/** It answers, and has logged no defect of its own. */
async function isWell(server: TestServer): Promise<boolean> {
  const { status } = await server.api().get("/health/ready");
  const defects = server.output.split("\n").filter((line) => /"level":"?(50|60|error|fatal)/.test(line));
  for (const line of defects.slice(0, 20)) console.log(line);
  if (status !== 200) console.log(`/health/ready answers ${status}`);
  return status === 200 && defects.length === 0;
}

/** Runs a program to its end and returns its exit code; of a preparation, anything but 0 throws. */
async function run(command: string[], env?: Record<string, string>, timeout = 180_000): Promise<number> {
  const child = Bun.spawn(command, {
    cwd: HERE,
    env: {
      PATH: process.env.PATH ?? "",
      HOME: temporary,
      PYTHONDONTWRITEBYTECODE: "1",
      NO_COLOR: "1",
      ...env,
    },
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit",
    timeout,
  });
  const code = await child.exited;
  if (env === undefined && code !== 0) throw new Error(`${command.join(" ")} failed with ${code}`);
  return code;
}
