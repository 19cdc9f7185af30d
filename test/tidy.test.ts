// The house rules of CONTRIBUTING.md as a test. They are checked on the syntax tree that TypeScript's own parser
// gives (an unstable interface of the pinned version), so that a comment or a text never counts as code.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import {
  isArrowFunction,
  isCallExpression,
  isConstructorDeclaration,
  isExportDeclaration,
  isFunctionDeclaration,
  isFunctionExpression,
  isGetAccessorDeclaration,
  isIdentifier,
  isImportDeclaration,
  isMethodDeclaration,
  isNewExpression,
  isPropertyAccessExpression,
  isSetAccessorDeclaration,
  isStringLiteralLikeNode,
  isTemplateLiteralToken,
  type Node,
  type SourceFile,
  SyntaxKind,
} from "typescript/unstable/ast";
import { API } from "typescript/unstable/async";
import manifest from "../package.json" with { type: "json" };

const FILE_LINES_MAX = 500;
const FUNCTION_LINES_MAX = 70;
const TREES = ["src/", "test/", "scripts/", "bench/", "db/", "examples/"];

/** The floors of src/. config.ts counts as a file of base/. */
const FLOORS: Readonly<Record<string, number>> = {
  base: 0,
  sdk: 0,
  wire: 1,
  webhook: 1,
  store: 2,
  delivery: 3,
  http: 3,
  "threads.ts": 4,
  "server.ts": 5,
  cli: 6,
  "main.ts": 7,
};

/** `path` is relative to the project; `imports` are the project's own files. */
interface File {
  readonly path: string;
  readonly tree: SourceFile;
  readonly imports: readonly { readonly path: string; readonly line: number }[];
}
type Rule = (files: readonly File[]) => string[];

const RULES: Readonly<Record<string, Rule>> = {
  "a file of src imports its own folder or lower floors": (files) =>
    src(files).flatMap((file) => [
      ...(floorOf(file.path) === undefined ? [`${file.path}: has no floor in FLOORS`] : []),
      ...file.imports.filter((one) => !mayImport(file.path, one.path)).map((one) => at(file, one)),
    ]),

  "no file imports itself by way of others": (files) => cycles(files),

  "no file is a barrel: each has something of its own": (files) =>
    files
      .filter((file) => path.basename(file.path) === "index.ts" || isBarrel(file.tree))
      .map((file) => file.path),

  "a file of src opens with a comment that tells what it owns": (files) =>
    src(files)
      .filter((file) => !/^\/[/*]/.test(file.tree.text))
      .map((file) => file.path),

  [`a file has at most ${FILE_LINES_MAX} lines`]: (files) =>
    files
      .map((file) => ({ file, lines: file.tree.text.trimEnd().split("\n").length }))
      .filter(({ lines }) => lines > FILE_LINES_MAX)
      .map(({ file, lines }) => `${file.path}: ${lines} lines`),

  [`a function has at most ${FUNCTION_LINES_MAX} lines`]: (files) =>
    outside("test/", files).flatMap((file) =>
      found(file, isFunction)
        .map((node) => ({ node, lines: lineOf(file, node.end) - lineOf(file, node.getStart(file.tree)) + 1 }))
        .filter(({ lines }) => lines > FUNCTION_LINES_MAX)
        .map(({ node, lines }) => `${place(file, node)}: ${lines} lines`),
    ),

  "a file's name says what is in it": (files) =>
    files
      .filter((file) => VAGUE_NAME.test(path.basename(file.path).replace(/\..*$/, "")))
      .map((file) => file.path),

  "nothing has the type any": (files) =>
    outside("test/", files).flatMap((file) => places(file, (node) => node.kind === SyntaxKind.AnyKeyword)),

  "no compiler error is silenced": (files) =>
    files.filter((file) => /@ts-(ignore|expect-error|nocheck)/.test(file.tree.text)).map((file) => file.path),

  "threads start in src/threads.ts alone": (files) =>
    src(files)
      .filter((file) => file.path !== "src/threads.ts")
      .flatMap((file) => places(file, (node) => isNewExpression(node) && isNamed(node.expression, "Worker"))),

  "only src/store knows SQL": (files) =>
    outside("src/store/", src(files)).flatMap((file) => places(file, holdsSql)),

  "no transaction is async: it would commit at its first await": (files) =>
    files.flatMap((file) => places(file, isAsyncTransaction)),

  "no test is singled out, skipped, or waits by the clock": (files) =>
    files.filter((file) => file.path.endsWith(".test.ts")).flatMap((file) => places(file, isUnsteadyTest)),
};

const VAGUE_NAME = /(^|[-_.])(utils?|helpers?|common|managers?|services?|impl)($|[-_.])/i;

function floorOf(file: string): { unit: string; floor: number } | undefined {
  const top = file.split("/")[1] ?? "";
  const unit = top === "config.ts" ? "base" : top;
  const floor = FLOORS[unit];
  return floor === undefined ? undefined : { unit, floor };
}

function mayImport(from: string, to: string): boolean {
  if (!to.startsWith("src/")) return /\.(sql|json)$/.test(to);
  const [own, other] = [floorOf(from), floorOf(to)];
  if (!own || !other) return true; // told apart: "has no floor"
  return own.unit === other.unit || other.floor < own.floor;
}

function cycles(files: readonly File[]): string[] {
  const importsOf = new Map(files.map((file) => [file.path, file.imports.map((one) => one.path)]));
  const done = new Set<string>();
  const loops: string[] = [];
  const visit = (file: string, trail: readonly string[]) => {
    if (trail.includes(file)) loops.push([...trail.slice(trail.indexOf(file)), file].join(" -> "));
    if (trail.includes(file) || done.has(file)) return;
    for (const next of importsOf.get(file) ?? []) visit(next, [...trail, file]);
    done.add(file);
  };
  for (const file of importsOf.keys()) visit(file, []);
  return loops;
}

function isBarrel(tree: SourceFile): boolean {
  const passesOn = (node: Node) => isExportDeclaration(node) || isImportDeclaration(node);
  return tree.statements.some(isExportDeclaration) && tree.statements.every(passesOn);
}

function isFunction(node: Node): boolean {
  return (
    isFunctionDeclaration(node) ||
    isFunctionExpression(node) ||
    isArrowFunction(node) ||
    isMethodDeclaration(node) ||
    isConstructorDeclaration(node) ||
    isGetAccessorDeclaration(node) ||
    isSetAccessorDeclaration(node)
  );
}

function holdsSql(node: Node): boolean {
  if (!isStringLiteralLikeNode(node) && !isTemplateLiteralToken(node)) return false;
  return /\b(SELECT|INSERT INTO|UPDATE|DELETE FROM)\b/.test(node.text);
}

function isAsyncTransaction(node: Node): boolean {
  if (!isCallExpression(node) || !isPropertyAccessExpression(node.expression)) return false;
  const [work] = node.arguments;
  if (node.expression.name.text !== "transaction" || !work) return false;
  if (!isArrowFunction(work) && !isFunctionExpression(work)) return false;
  return work.modifiers?.some((modifier) => modifier.kind === SyntaxKind.AsyncKeyword) ?? false;
}

function isUnsteadyTest(node: Node): boolean {
  if (isIdentifier(node)) return node.text === "setTimeout" || node.text === "setInterval";
  if (!isPropertyAccessExpression(node)) return false;
  const [of, name] = [node.expression, node.name.text];
  if (isNamed(of, "Bun")) return name === "sleep" || name === "sleepSync";
  const ofTests = ["test", "it", "describe"].some((word) => isNamed(of, word));
  return ofTests && ["only", "skip", "todo"].includes(name);
}

function isNamed(node: Node, name: string): boolean {
  return isIdentifier(node) && node.text === name;
}

const src = (files: readonly File[]) =>
  files.filter((file) => file.path.startsWith("src/") && !file.tree.isDeclarationFile);

const outside = (folder: string, files: readonly File[]) =>
  files.filter((file) => !file.path.startsWith(folder));

function found(file: File, matches: (node: Node) => boolean): Node[] {
  const nodes: Node[] = [];
  const visit = (node: Node): undefined => {
    if (matches(node)) nodes.push(node);
    node.forEachChild(visit);
  };
  visit(file.tree);
  return nodes;
}

const places = (file: File, matches: (node: Node) => boolean) =>
  found(file, matches).map((node) => place(file, node));

const place = (file: File, node: Node) => `${file.path}:${lineOf(file, node.getStart(file.tree))}`;

const at = (file: File, one: { path: string; line: number }) =>
  `${file.path}:${one.line} imports ${one.path}`;

const lineOf = (file: { tree: SourceFile }, position: number) =>
  file.tree.getLineAndCharacterOfPosition(position).line + 1;

let api: API;
beforeAll(() => {
  api = new API();
});
afterAll(() => api.close());

/** Every TypeScript file that the tsconfig.json in `root` includes. */
async function readProject(root: string): Promise<readonly File[]> {
  const config = path.join(root, "tsconfig.json");
  const snapshot = await api.updateSnapshot({ openProjects: [config] });
  const project = snapshot.getProjects().find((one) => one.configFileName === config);
  if (!project) throw new Error(`TypeScript does not open ${config}`);
  const trees = await Promise.all(project.rootFiles.map((name) => project.program.getSourceFile(name)));
  return trees.flatMap((tree) => {
    const file = tree && path.relative(root, tree.fileName);
    return file && TREES.some((folder) => file.startsWith(folder))
      ? [{ path: file, tree, imports: importsOf(root, tree) }]
      : [];
  });
}

function importsOf(root: string, tree: SourceFile): File["imports"] {
  return tree.imports.flatMap((node) => {
    if (!isStringLiteralLikeNode(node) || !node.text.startsWith(".")) return [];
    const target = path.relative(root, path.resolve(path.dirname(tree.fileName), node.text));
    return [{ path: target, line: lineOf({ tree }, node.getStart(tree)) }];
  });
}

describe("house rules", () => {
  let files: readonly File[];
  beforeAll(async () => {
    files = await readProject(path.resolve(import.meta.dir, ".."));
  });

  test("look at the whole project", () => {
    const paths = files.map((file) => file.path);
    expect(paths).toContain("src/main.ts");
    expect(paths).toContain("test/tidy.test.ts");
  });

  test.each(Object.entries(RULES))("%s", (_name, rule) => {
    expect(rule(files)).toEqual([]);
  });
});

test("every dependency has a line in docs/dependencies.md that says why, and no other package does", () => {
  const text = readFileSync(path.join(import.meta.dir, "../docs/dependencies.md"), "utf8");
  const [kept = ""] = text.split("## Left out");
  const named = [...kept.matchAll(/^\| (\S+) +\|/gm)].map(([, name]) => name);
  const { dependencies, devDependencies } = manifest;
  const installed = [...Object.keys(dependencies), ...Object.keys(devDependencies)];
  expect(named.filter((name) => name !== "package" && !/^-+$/.test(name ?? "")).sort()).toEqual(
    installed.sort(),
  );
});

describe("house rules notice what breaks them", () => {
  const root = mkdtempSync(path.join(tmpdir(), "tidy-"));
  let offences: Record<string, string[]>;
  beforeAll(async () => {
    for (const [file, text] of Object.entries(BROKEN)) {
      mkdirSync(path.dirname(path.join(root, file)), { recursive: true });
      writeFileSync(path.join(root, file), text);
    }
    const files = await readProject(root);
    offences = Object.fromEntries(Object.entries(RULES).map(([name, rule]) => [name, rule(files).sort()]));
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  test.each(Object.keys(RULES).map((name) => [name] as const))("%s", (name) => {
    expect(offences[name]).toEqual([...(EXPECTED[name] ?? ["no example"])]);
  });
});

const BROKEN: Readonly<Record<string, string>> = {
  "tsconfig.json": '{"compilerOptions":{"noEmit":true,"types":[]},"include":["src","test"]}',
  "src/base/a.ts": '// A.\nimport { b } from "../wire/b.ts";\nexport const a = b;\n',
  "src/config.ts": '// Config.\nexport { a } from "./base/a.ts";\nexport const fine = 1;\n',
  "src/wire/b.ts": '// B.\nexport const b: string = "UPDATED"; // SELECT in a comment is fine\n',
  "src/webhook/w.ts": '// W.\nexport type W = typeof import("../wire/b.ts");\n',
  "src/http/h.ts": '// H.\nexport const h = async () => (await import("../delivery/d.ts")).d;\n',
  "src/delivery/d.ts": `// D.\nexport const d = new Worker("x");\nexport const q = \`\${d} UPDATE x\`;\nexport const s = 'SELECT 1';\n`,
  "src/store/s.ts":
    "// S.\nexport const s = (db: never) => db.transaction(async () => 'SELECT 1');\nexport const t = (db: never) => db.transaction(() => 1);\n",
  "src/store/one.ts": '// One.\nimport { two } from "./two.ts";\nexport const one = two;\n',
  "src/store/two.ts": '// Two.\nimport type { one } from "./one.ts";\nexport const two: typeof one = 1;\n',
  "src/store/all.ts": '// All.\nexport * from "./one.ts";\nexport { two } from "./two.ts";\n',
  "src/store/index.ts": "// Index.\nexport const i = 1;\n",
  "src/store/row-utils.ts": "// Vague.\nexport const i = 1;\n",
  "src/store/useful.ts": `// Silences.\n// @ts-${"ignore"}\nexport const i = 1;\n`,
  "src/store/service.worker.ts": "// Vague too.\nexport const i = 1;\n",
  "src/loose/l.ts": "export const l = (x: any): unknown[] => [x];\n",
  "src/cli/long.ts": `// Long.\nexport function long() {\n${"  void 0;\n".repeat(69)}}\n${"// x\n".repeat(430)}`,
  "src/cli/short.ts": `// Just short enough.\nexport const short = () => {\n${"  void 0;\n".repeat(68)}};\n${"// x\n".repeat(429)}`,
  "test/x.test.ts":
    "test.only('a', () => {});\ndescribe.skip('b', () => setTimeout(() => {}, 1));\nawait Bun.sleep(1);\ntest.skipIf(true)('c', () => {});\nexport const fine = [].only; // setTimeout\n",
};

const EXPECTED: Readonly<Record<string, readonly string[]>> = {
  "a file of src imports its own folder or lower floors": [
    "src/base/a.ts:2 imports src/wire/b.ts",
    "src/http/h.ts:2 imports src/delivery/d.ts",
    "src/loose/l.ts: has no floor in FLOORS",
    "src/webhook/w.ts:2 imports src/wire/b.ts",
  ],
  "no file imports itself by way of others": ["src/store/one.ts -> src/store/two.ts -> src/store/one.ts"],
  "no file is a barrel: each has something of its own": ["src/store/all.ts", "src/store/index.ts"],
  "a file of src opens with a comment that tells what it owns": ["src/loose/l.ts"],
  [`a file has at most ${FILE_LINES_MAX} lines`]: ["src/cli/long.ts: 502 lines"],
  [`a function has at most ${FUNCTION_LINES_MAX} lines`]: ["src/cli/long.ts:2: 71 lines"],
  "a file's name says what is in it": ["src/store/row-utils.ts", "src/store/service.worker.ts"],
  "nothing has the type any": ["src/loose/l.ts:1"],
  "no compiler error is silenced": ["src/store/useful.ts"],
  "threads start in src/threads.ts alone": ["src/delivery/d.ts:2"],
  "only src/store knows SQL": ["src/delivery/d.ts:3", "src/delivery/d.ts:4"],
  "no transaction is async: it would commit at its first await": ["src/store/s.ts:2"],
  "no test is singled out, skipped, or waits by the clock": [
    "test/x.test.ts:1",
    "test/x.test.ts:2",
    "test/x.test.ts:2",
    "test/x.test.ts:3",
  ],
};
