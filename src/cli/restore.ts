// `restore`: a backup becomes the database of a data directory that has none.
import { resolve } from "node:path";
import type { Command } from "commander";
import type { Run } from "./command.ts";
import { complain, EXIT, printJson } from "./output.ts";
import { settingsOf } from "./settings.ts";

const AFTER_HELP = `
Example, to see that a backup is good, without sending anything:
  zapier-triggers restore /backup/triggers.db --data-dir /tmp/trial
  zapier-triggers serve --data-dir /tmp/trial --port 3999 --disable-webhook-delivery

DATA_DIR must have no database, and no server. What was delivered after the backup was made is delivered again, and
keys that were deleted after it work again. Exit codes: 0; 1, nothing was restored and standard error says why; 2, a
mistake in the command line.
`;

export function addRestore(program: Command, run: Run): void {
  program
    .command("restore")
    .description("Make a backup the database of a DATA_DIR that has none.")
    .argument("<FILE>", "What zapier-triggers backup wrote.")
    .addHelpText("after", `${AFTER_HELP}\nSettings such as --data-dir are listed by zapier-triggers --help.`)
    .action(async (file: string, _options, command: Command) => {
      const loaded = settingsOf(command, run.env);
      if (!loaded.ok) {
        complain(loaded.detail);
        return run.finish(EXIT.usage);
      }
      const { config } = loaded;
      const [{ opensRestored, restore }, { databaseIn }, { runCopy }] = await Promise.all([
        import("../store/sqlite/restore.ts"),
        import("../store/sqlite/database_file.ts"),
        import("./copying.ts"),
      ]);
      const { dataDir, encryptionKeys } = config;
      const task = { config, source: file, target: resolve(databaseIn(dataDir)) };
      const code = await runCopy({ ...task, copy: (tools) => restore({ dataDir, file }, tools) }, (facts) => {
        printJson({ data_dir: resolve(dataDir), ...facts });
        if (!opensRestored(dataDir, encryptionKeys)) complain(SEALED);
      });
      run.finish(code);
    });
}

const SEALED =
  "restored, but the signing secrets in it are sealed by an ENCRYPTION_KEY that is not the one given here (or none is): the server needs it to start.";
