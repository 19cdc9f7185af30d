// `backup`: the database as one file, also while the server runs and takes events in.
import { resolve } from "node:path";
import type { Command } from "commander";
import type { Run } from "./command.ts";
import { complain, EXIT, printJson } from "./output.ts";
import { settingsOf } from "./settings.ts";

const AFTER_HELP = `
Examples:
  zapier-triggers backup /backup/triggers.db --force
  zapier-triggers backup "/backup/triggers-$(date +%F).db"

All that the server had accepted when it began is in it. FILE has its name only when it was checked and synced to disk.
It has everything that the database has: with ENCRYPTION_KEY its secrets stay sealed, and that key is needed after a
restore. Exit codes: 0; 1, there is no backup and standard error says why; 2, a mistake in the command line.
`;

export function addBackup(program: Command, run: Run): void {
  program
    .command("backup")
    .description("Write the database into one file, while the server runs or while it does not.")
    .argument("<FILE>", "Where to; it must not be there yet.")
    .option("--force", "Replace FILE when it is there.")
    .addHelpText("after", `${AFTER_HELP}\nSettings such as --data-dir are listed by zapier-triggers --help.`)
    .action(async (file: string, { force = false }: { force?: boolean }, command: Command) => {
      const loaded = settingsOf(command, run.env);
      if (!loaded.ok) {
        complain(loaded.detail);
        return run.finish(EXIT.usage);
      }
      const { config } = loaded;
      const [{ backUp }, { databaseIn }, { runCopy }] = await Promise.all([
        import("../store/sqlite/backup.ts"),
        import("../store/sqlite/database_file.ts"),
        import("./copying.ts"),
      ]);
      const { dataDir } = config;
      const task = { config, source: databaseIn(dataDir), target: resolve(file) };
      const code = await runCopy(
        { ...task, copy: (tools) => backUp({ dataDir, file, force }, tools) },
        (facts) => printJson({ file: task.target, ...facts }),
      );
      run.finish(code);
    });
}
