// `keys create`: a new organization and its first key. A running server is asked, because only one process may
// write the database; without one, the database is opened here.
import { type Command, Option } from "commander";
import { createLog, type Log } from "../base/log.ts";
import { writeWhole } from "../base/stdout.ts";
import type { Config } from "../config.ts";
import { type Tier, tiers } from "../wire/tiers.ts";
import type { Run } from "./command.ts";
import { complain, EXIT, printJson } from "./output.ts";
import { runningServer } from "./running.ts";
import { settingsOf } from "./settings.ts";
import { startProblem } from "./start_problem.ts";

/** A key costs the server one hash; this long means that it hangs. */
const ANSWER_MAX_MS = 30_000;

interface KeyInput {
  readonly organizationName: string;
  readonly tier: Tier;
}

type Asked =
  | { readonly kind: "created"; readonly key: unknown }
  | { readonly kind: "refused"; readonly detail: string }
  | { readonly kind: "nobody there" };

export function addKeys(program: Command, run: Run): void {
  const keys = program.command("keys").description("Keys and their organizations.");
  keys
    .command("create")
    .description("Make an organization and its first key, which is printed and shown only now.")
    .requiredOption("--organization <NAME>", "Name of the new organization, 1 to 255 characters.")
    .addOption(new Option("--tier <TIER>", "Sets its rate limit.").choices(tiers).default("free"))
    .addHelpText("after", "\nSettings such as --data-dir are listed by zapier-triggers --help.")
    .action(async (options: { organization: string; tier: Tier }, command: Command) => {
      const loaded = settingsOf(command, run.env);
      if (loaded.ok) {
        const input = { organizationName: options.organization, tier: options.tier };
        return run.finish(await createKey(loaded.config, input));
      }
      complain(loaded.detail);
      run.finish(EXIT.usage);
    });
}

async function createKey(config: Config, input: KeyInput): Promise<number> {
  const url = await runningServer(config.dataDir);
  const asked: Asked = url === null ? { kind: "nobody there" } : await askServer(url, config, input);
  if (asked.kind === "refused") {
    complain(asked.detail);
    return EXIT.failure;
  }
  if (asked.kind === "nobody there") return await createOffline(config, input);
  printJson(asked.key);
  return EXIT.ok;
}

async function createOffline(config: Config, input: KeyInput): Promise<number> {
  const { createKeyOffline } = await import("../server.ts");
  try {
    printJson(await createKeyOffline(config, input, warnings(config)));
    return EXIT.ok;
  } catch (error) {
    complain(startProblem(error, config));
    return EXIT.failure;
  }
}

/** Standard output is for the key alone. */
function warnings(config: Config): Log {
  const level = config.logLevel === "silent" ? "silent" : "warn";
  return createLog({ level, format: config.logFormat }, (line) => writeWhole(2, line));
}

async function askServer(url: string, config: Config, input: KeyInput): Promise<Asked> {
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (config.adminToken !== null) headers.authorization = `Bearer ${config.adminToken}`;
  const body = JSON.stringify({ organization_name: input.organizationName, tier: input.tier });
  try {
    // Not through a proxy of the environment: the server is on this machine, and the token goes with it.
    const answer = await fetch(`${url}/api/keys/generate`, {
      method: "POST",
      headers,
      body,
      redirect: "error",
      proxy: false,
      signal: AbortSignal.timeout(ANSWER_MAX_MS),
    });
    if (answer.status === 201) return { kind: "created", key: await answer.json() };
    return { kind: "refused", detail: await refusal(url, answer) };
  } catch (error) {
    if (isRefusedConnection(error)) return { kind: "nobody there" };
    const why = error instanceof Error ? error.message : String(error);
    return { kind: "refused", detail: `the server at ${url} did not answer: ${why}` };
  }
}

async function refusal(url: string, answer: Response): Promise<string> {
  if (answer.status === 401)
    return `the server at ${url} wants its ADMIN_TOKEN: run this with the same ADMIN_TOKEN as the server.`;
  const text = await answer.text();
  let detail = text.slice(0, 200);
  try {
    const problem: unknown = JSON.parse(text);
    if (typeof problem === "object" && problem !== null && "detail" in problem)
      detail = String(problem.detail);
  } catch {
    // Not a problem document: its first words will do.
  }
  return `the server at ${url} answered ${answer.status}: ${detail}`;
}

function isRefusedConnection(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "ConnectionRefused" || code === "ECONNREFUSED";
}
