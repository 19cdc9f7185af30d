// `serve`, the default command: starts the server and runs until a signal.
import { resolve } from "node:path";
import type { Command } from "commander";
import { createLog, isPretty, type Log } from "../base/log.ts";
import { VERSION } from "../base/version.ts";
import { type Config, openMode } from "../config.ts";
import { banner } from "./banner.ts";
import type { Run } from "./command.ts";
import { complain, EXIT, print } from "./output.ts";
import { settingsOf } from "./settings.ts";
import { firstStopSignal } from "./signals.ts";
import { startProblem } from "./start_problem.ts";

/** Supervisors kill after 30 s; a second is left to say so ourselves. */
const STOP_MAX_MS = 29_000;

export function addServe(program: Command, run: Run): void {
  program
    .command("serve")
    .description("Run the server (the default).")
    .addHelpText("after", "\nSettings such as --data-dir are listed by zapier-triggers --help.")
    .action(async (_options, command: Command) => run.finish(await serve(command, run.env)));
}

/** Runs the server until SIGTERM or SIGINT. Exit code: 0 stopped, 1 could not start or stop, 2 bad settings. */
export async function serve(command: Command, env: Record<string, string | undefined>): Promise<number> {
  const loaded = settingsOf(command, env);
  if (!loaded.ok) {
    complain(loaded.detail);
    return EXIT.usage;
  }
  const { config } = loaded;
  const log = createLog({ level: config.logLevel, format: config.logFormat });
  dieOfDefects(log);
  // Listened for from here on, so that a signal during the start stops what has started.
  const signalled = firstStopSignal();
  const server = await start(config, log);
  if (server === null) return EXIT.failure;
  announce(config, server.url, log);
  const signal = await signalled;
  log.info({ signal }, "stopping");
  return await stop(server, log);
}

/** A mistake of ours that nobody caught: who knows what else is wrong. The supervisor starts the process anew. */
function dieOfDefects(log: Log): void {
  const die = (err: unknown) => {
    log.error({ err }, "a defect in the main thread; the process exits so that it is started anew");
    process.exit(EXIT.failure);
  };
  process.on("uncaughtException", die);
  process.on("unhandledRejection", die);
}

async function start(config: Config, log: Log) {
  // Loaded here and not at the top: `version` and `--help` need none of it.
  const { startServer } = await import("../server.ts");
  try {
    return await startServer(config, log);
  } catch (error) {
    complain(startProblem(error, config));
    log.debug({ err: error }, "start failed");
    return null;
  }
}

function announce(config: Config, url: string, log: Log): void {
  if (isPretty(config.logFormat)) print(banner(config, url, VERSION));
  else log.info({ version: VERSION, url, docs: `${url}/docs`, ...facts(config) }, "listening");
}

function facts(config: Config) {
  const { durability } = config;
  return { data_dir: resolve(config.dataDir), durability, open_mode: openMode(config) };
}

async function stop(server: { stop(): Promise<void> }, log: Log): Promise<number> {
  const late = Promise.withResolvers<"late">();
  const timer = setTimeout(() => late.resolve("late"), STOP_MAX_MS);
  try {
    const outcome = await Promise.race([server.stop(), late.promise]);
    if (outcome === "late") log.error({ stop_max_ms: STOP_MAX_MS }, "did not stop in time; exiting");
    else log.info("stopped");
    return outcome === "late" ? EXIT.failure : EXIT.ok;
  } catch (error) {
    log.error({ err: error }, "did not stop cleanly");
    return EXIT.failure;
  } finally {
    clearTimeout(timer);
  }
}
