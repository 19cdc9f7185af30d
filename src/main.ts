// The process: command line in, exit code out. Exits at the end, because threads may still be winding down.
import { run } from "./cli/program.ts";

process.exit(await run(process.argv.slice(2), process.env));
