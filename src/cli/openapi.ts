// `openapi`: the OpenAPI document of this version, without starting a server.
import type { Command } from "commander";
import type { Run } from "./command.ts";
import { EXIT, print } from "./output.ts";

export function addOpenapi(program: Command, run: Run): void {
  program
    .command("openapi")
    .description("Print the OpenAPI document.")
    .action(async () => {
      const { openapiDocument } = await import("../http/openapi.ts");
      print(JSON.stringify(await openapiDocument(), null, 2));
      run.finish(EXIT.ok);
    });
}
