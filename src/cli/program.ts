// The command line: which commands there are, and what an exit code means. Each command is a file of its own
// and is loaded with the program; the server behind `serve` is loaded only when it is asked for.
import { Command, CommanderError } from "commander";
import { nearest } from "../base/nearest.ts";
import { writeWhole } from "../base/stdout.ts";
import { VERSION } from "../base/version.ts";
import { addBackup } from "./backup.ts";
import type { Run } from "./command.ts";
import { addDoctor } from "./doctor.ts";
import { addKeys } from "./keys.ts";
import { addOpenapi } from "./openapi.ts";
import { complain, EXIT } from "./output.ts";
import { addReplay } from "./replay.ts";
import { addRestore } from "./restore.ts";
import { addSend } from "./send.ts";
import { addServe, serve } from "./serve.ts";
import { addSettingFlags } from "./settings.ts";
import { addTail } from "./tail.ts";
import { addVersion } from "./version.ts";

const COMMANDS = [
  addServe,
  addKeys,
  addSend,
  addTail,
  addReplay,
  addBackup,
  addRestore,
  addDoctor,
  addOpenapi,
  addVersion,
];

/** Runs one command line (without the program's own name) and gives its exit code: 0, 1 failure, 2 usage. */
export async function run(argv: readonly string[], env: Record<string, string | undefined>): Promise<number> {
  let exitCode: number = EXIT.ok;
  const program = build({
    env,
    finish: (code) => {
      exitCode = code;
    },
  });
  try {
    await program.parseAsync(argv, { from: "user" });
    return exitCode;
  } catch (error) {
    // Commander has printed what it had to say. It ends help and --version this way too, with code 0.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    complain(error instanceof Error ? error.message : String(error));
    return EXIT.failure;
  }
}

function build(run: Run): Command {
  const program = new Command("zapier-triggers")
    .description("Takes events over HTTP, keeps them, and delivers them to webhooks and an inbox.")
    .version(VERSION, "-V, --version", "Print the version.")
    .helpOption("-h, --help", "Show this help.")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => writeWhole(1, text),
      writeErr: (text) => writeWhole(2, text),
      outputError: (text, write) => write(text.replace(/^error:/, "zapier-triggers:")),
    })
    .action((_options, command: Command) => serveOrComplain(command, run));
  addSettingFlags(program);
  for (const add of COMMANDS) add(program, run);
  // Set after the commands, which would take it over: the program itself looks at what it does not know.
  program.allowExcessArguments();
  program.addHelpText("after", SETTINGS_NOTE);
  return program;
}

const SETTINGS_NOTE = `
Without a command, the server runs. Every setting is a flag (--data-dir PATH) or an environment variable of the
same name (DATA_DIR=PATH); the flag wins. Durations are written 150ms, 5s, 1m, 2h. Give tokens by environment:
flags can be read in the list of processes.`;

/** No command: serve. An unknown word: not a reason to start a server. */
async function serveOrComplain(program: Command, run: Run): Promise<void> {
  const [word] = program.args;
  if (word === undefined) return run.finish(await serve(program, run.env));
  const meant = nearest(
    word,
    program.commands.map((command) => command.name()),
    3,
  );
  const hint = meant ? `Did you mean ${meant}?` : "See zapier-triggers --help.";
  program.error(`error: unknown command "${word}". ${hint}`, { exitCode: EXIT.usage });
}
