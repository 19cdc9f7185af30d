// The command line: which commands there are, and what an exit code means. Each command is a file of its own, and is
// loaded when the words may mean it: a server that starts needs the code of no other command (15 ms).
import { Command, CommanderError } from "commander";
import { nearest } from "../base/nearest.ts";
import { writeWhole } from "../base/stdout.ts";
import { VERSION } from "../base/version.ts";
import type { Run } from "./command.ts";
import { complain, EXIT } from "./output.ts";
import { addServe, serve } from "./serve.ts";
import { addSettingFlags } from "./settings.ts";

type Add = (program: Command, run: Run) => void;

/** In the order in which the help tells them. */
const COMMANDS: Readonly<Record<string, () => Add | Promise<Add>>> = {
  serve: () => addServe,
  keys: async () => (await import("./keys.ts")).addKeys,
  send: async () => (await import("./send.ts")).addSend,
  tail: async () => (await import("./tail.ts")).addTail,
  replay: async () => (await import("./replay.ts")).addReplay,
  backup: async () => (await import("./backup.ts")).addBackup,
  restore: async () => (await import("./restore.ts")).addRestore,
  doctor: async () => (await import("./doctor.ts")).addDoctor,
  openapi: async () => (await import("./openapi.ts")).addOpenapi,
  version: async () => (await import("./version.ts")).addVersion,
};

/** Runs one command line (without the program's own name) and gives its exit code: 0, 1 failure, 2 usage. */
export async function run(argv: readonly string[], env: Record<string, string | undefined>): Promise<number> {
  let exitCode: number = EXIT.ok;
  const finish = (code: number) => {
    exitCode = code;
  };
  try {
    const program = await build(argv, { env, finish });
    await program.parseAsync(argv, { from: "user" });
    return exitCode;
  } catch (error) {
    // Commander has printed what it had to say. It ends help and --version this way too, with code 0.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    complain(error instanceof Error ? error.message : String(error));
    return EXIT.failure;
  }
}

async function build(argv: readonly string[], run: Run): Promise<Command> {
  const program = new Command("zapier-triggers")
    .description("Takes events over HTTP, keeps them, and delivers them to webhooks and an inbox.")
    .version(VERSION, "-V, --version", "Print the version.")
    .helpOption("-h, --help", "Show this help.")
    .helpCommand("help [command]", "Show this help, or that of a command.")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => writeWhole(1, text),
      writeErr: (text) => writeWhole(2, text),
      outputError: (text, write) => write(text.replace(/^error:/, "zapier-triggers:")),
    })
    .action((_options, command: Command) => serveOrComplain(command, run));
  addSettingFlags(program);
  for (const name of namesFor(argv)) (await COMMANDS[name]?.())?.(program, run);
  // Set after the commands, which would take it over: the program itself looks at what it does not know.
  program.allowExcessArguments();
  program.addHelpText("after", SETTINGS_NOTE);
  return program;
}

/** The commands that these words may mean; all of them for the help, and to say what an unknown word may have meant. */
function namesFor(argv: readonly string[]): readonly string[] {
  const all = Object.keys(COMMANDS);
  const named = all.filter((name) => argv.includes(name));
  if (argv.some((word) => HELP.includes(word))) return all;
  if (named.length > 0) return named;
  const isWord = (word: string, i: number) => !word.startsWith("-") && !argv[i - 1]?.startsWith("-");
  return argv.some(isWord) ? all : ["serve"];
}

const HELP: readonly string[] = ["help", "-h", "--help"];

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
