// Builds the executable: dist/zapier-triggers, or for another system with
//   bun scripts/build.ts --target bun-linux-arm64 [--outfile dist/zapier-triggers-arm64]
// Not minified, on purpose: Elysia reads the source text of its handlers, and a minified build drops request
// bodies without an error (elysia#740, #1711).
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { VERSION } from "../src/base/version.ts";

/** The program and its threads: `new Worker` finds a thread in the executable only if it is an entry point. */
const ENTRYPOINTS = [
  "src/main.ts",
  "src/store/sqlite/writer.worker.ts",
  "src/store/sqlite/checkpoint.worker.ts",
  "src/store/sqlite/copy.worker.ts",
  "src/delivery/delivery.worker.ts",
] as const;

const { values } = options();
const outfile = resolve(values.outfile);
process.chdir(resolve(import.meta.dir, ".."));
const startedMs = performance.now();
// A target that does not exist is thrown, whatever `throw` says.
await build(outfile, values.target ?? null).catch((error) => stop(`cannot build: ${error}`));
removeStrayMaps(outfile);
if (values.target === undefined) mustRun(outfile);
const megabytes = (statSync(outfile).size / 1e6).toFixed(1);
console.log(
  `${values.outfile} ${VERSION}: ${megabytes} MB in ${Math.round(performance.now() - startedMs)} ms`,
);

function options() {
  try {
    const outfile = { type: "string", default: "dist/zapier-triggers" } as const;
    return parseArgs({ options: { target: { type: "string" }, outfile } });
  } catch (error) {
    stop(String(error));
  }
}

async function build(outfile: string, target: string | null): Promise<void> {
  const missing = ENTRYPOINTS.filter((file) => !existsSync(file));
  if (missing.length > 0) stop(`cannot build: ${missing.join(" and ")} missing`);
  mkdirSync(dirname(outfile), { recursive: true });
  const compile = {
    outfile,
    // Neither may come from the directory that the executable is started in: bunfig.toml can preload code.
    autoloadDotenv: false,
    autoloadBunfig: false,
    ...(target === null ? {} : { target: target as Bun.Build.CompileTarget }),
  };
  const result = await Bun.build({
    entrypoints: [...ENTRYPOINTS],
    compile,
    bytecode: true,
    format: "esm",
    sourcemap: "linked",
    minify: false,
    // A compiled executable otherwise takes itself for development, and Elysia then shows errors' own texts.
    define: { "process.env.NODE_ENV": '"production"' },
    throw: false,
  });
  if (!result.success) stop(`cannot build:\n${result.logs.map(String).join("\n")}`);
}

/** The maps are in the executable, where stack traces use them; the copies beside it are not needed. */
function removeStrayMaps(outfile: string): void {
  const folder = dirname(outfile);
  const ours = [`${basename(outfile)}.map`, ...ENTRYPOINTS.map((file) => `${basename(file, ".ts")}.js.map`)];
  for (const file of readdirSync(folder)) if (ours.includes(file)) rmSync(join(folder, file));
}

function mustRun(outfile: string): void {
  const said = Bun.spawnSync([outfile, "version"], { env: {} });
  if (said.exitCode !== 0 || said.stdout.toString().trim() !== VERSION)
    stop(`built, but \`${outfile} version\` exits ${said.exitCode}: ${said.stderr}${said.stdout}`);
}

function stop(why: string): never {
  console.error(why);
  process.exit(1);
}
