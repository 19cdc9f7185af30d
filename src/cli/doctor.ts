// `doctor`: looks at settings, data directory, disk, database and server, and says what to do. It changes nothing, so
// it may run at any time, also beside the server.
import { existsSync } from "node:fs";
import type { Command } from "commander";
import { loadConfig } from "../config.ts";
import type { Check, Level } from "./check.ts";
import { checkSettings } from "./check_settings.ts";
import type { Run } from "./command.ts";
import { EXIT, print, printJson } from "./output.ts";
import { progressLine } from "./progress.ts";
import { settingsOf } from "./settings.ts";

const AFTER_HELP = `
One line each: ok, warning or problem, and what to do. Run it as the user and with the settings of the server. A
database of more than 2 GB is read through only with --full. Nothing is changed. Exit codes: 0; 1, there is a problem;
2, a mistake in the command line.
`;

interface Options {
  readonly json?: boolean;
  readonly full?: boolean;
}

export function addDoctor(program: Command, run: Run): void {
  program
    .command("doctor")
    .description("Check settings, data directory, disk, database and server; say what to do.")
    .option("--json", "Print one JSON object.")
    .option("--full", "Read all of the database, and compare tables with their indexes.")
    .addHelpText("after", `${AFTER_HELP}\nSettings such as --data-dir are listed by zapier-triggers --help.`)
    .action(async (options: Options, command: Command) =>
      run.finish(await doctor(command, run.env, options)),
    );
}

async function doctor(command: Command, env: Run["env"], { json = false, full = false }: Options) {
  const checks: Check[] = [];
  progressLine("looking...");
  for await (const one of allChecks(command, env, full)) {
    checks.push(one);
    progressLine(null);
    if (!json) print(lineOf(one));
    progressLine("looking...");
  }
  progressLine(null);
  const [problems, warnings] = [count(checks, "problem"), count(checks, "warning")];
  if (json) printJson({ ok: problems === 0, problems, warnings, checks });
  else print(`${problems} problems, ${warnings} warnings`);
  return problems === 0 ? EXIT.ok : EXIT.failure;
}

async function* allChecks(command: Command, env: Run["env"], full: boolean): AsyncGenerator<Check> {
  const loaded = settingsOf(command, env);
  yield* checkSettings(loaded);
  const dataDir = loaded.ok ? loaded.config.dataDir : dataDirAlone(command, env);
  if (dataDir === null) return;
  const [disk, database, server, { isLocked }] = await Promise.all([
    import("./check_disk.ts"),
    import("./check_database.ts"),
    import("./check_process.ts"),
    import("../store/sqlite/inspect.ts"),
  ]);
  yield* disk.checkDirectory(dataDir);
  if (existsSync(dataDir) && !disk.isDirectory(dataDir)) return;
  yield disk.checkSpace(dataDir);
  yield disk.checkFileSystem(dataDir);
  const isServed = isLocked(dataDir);
  yield await server.checkServer(dataDir, isServed);
  yield server.checkOpenFiles(dataDir, isServed);
  const encryptionKeys = loaded.ok ? loaded.config.encryptionKeys : null;
  yield* database.checkDatabase({ dataDir, isServed, full, encryptionKeys });
}

/** When another setting is wrong, there is still a directory to look at. */
function dataDirAlone(command: Command, env: Run["env"]): string | null {
  const given: { dataDir?: string } = command.optsWithGlobals();
  const flags = given.dataDir === undefined ? {} : { "data-dir": given.dataDir };
  const loaded = loadConfig({ DATA_DIR: env.DATA_DIR }, flags);
  return loaded.ok ? loaded.config.dataDir : null;
}

const count = (checks: readonly Check[], level: Level) => checks.filter((one) => one.level === level).length;

function lineOf({ level, check, detail, advice }: Check): string {
  const line = `${level.padEnd(7)}  ${check.padEnd(15)}  ${detail}`;
  return advice === null ? line : `${line}\n${" ".repeat(26)}${advice}`;
}
