// `version`: the version alone on one line, for scripts.
import type { Command } from "commander";
import { VERSION } from "../base/version.ts";
import type { Run } from "./command.ts";
import { EXIT, print } from "./output.ts";

export function addVersion(program: Command, run: Run): void {
  program
    .command("version")
    .description("Print the version.")
    .action(() => {
      print(VERSION);
      run.finish(EXIT.ok);
    });
}
