// What a server did to its files and told its clients, in order, from strace: started under it, so that nothing before
// is missed. A call of one thread that another thread's interrupts is two lines; what goes out to a client counts from
// the first of them, what is done to a file from the second.

import { createReadStream } from "node:fs";
import { createInterface } from "node:readline";

/** Paths are absolute. `sync`: of a file or of a directory. */
export type Call =
  | { readonly kind: "write"; readonly path: string; readonly offset: number | null; readonly data: Buffer }
  | { readonly kind: "truncate"; readonly path: string; readonly size: number }
  | { readonly kind: "open"; readonly path: string; readonly creates: boolean; readonly truncates: boolean }
  | { readonly kind: "mkdir" | "unlink" | "sync"; readonly path: string }
  | { readonly kind: "rename"; readonly path: string; readonly to: string }
  | { readonly kind: "answer"; readonly text: string };

export type Trace = {
  readonly calls: readonly Call[];
  /** Writes that the kill interrupted: done or not. */
  readonly unfinished: readonly Call[];
};

const FILE_CALLS = ["open", "openat", "creat", "mkdir", "mkdirat", "unlink", "unlinkat"];
const MORE_FILE_CALLS = ["rename", "renameat", "renameat2", "ftruncate", "truncate", "fsync", "fdatasync"];
/** Those below that are not understood end the reading, so that a change of SQLite cannot go unseen. */
const WRITE_CALLS = ["pwrite64", "write", "pwritev", "pwritev2", "writev", "sendto", "sendmsg"];
const UNKNOWN_CALLS = ["fallocate", "sync_file_range", "syncfs", "sync", "copy_file_range", "link", "linkat"];
/** Longer ones are answers to clients, of which the beginning is enough. */
const STRING_BYTES = 262_144;

/** What to put before a command, so that what it does is written to `file`. */
export function traced(file: string): readonly string[] {
  const calls = [...FILE_CALLS, ...MORE_FILE_CALLS, ...WRITE_CALLS, ...UNKNOWN_CALLS].join(",");
  // -y tells the path of a descriptor, -xx every text in hexadecimal.
  const how = ["-f", "-y", "-xx", "-s", String(STRING_BYTES), "--seccomp-bpf", "-e", `trace=${calls}`];
  return ["strace", ...how, "-o", file];
}

/** Reads a trace: what lies below `root`, and answers. */
export async function readTrace(file: string, root: string): Promise<Trace> {
  const calls: Call[] = [];
  const begun = new Map<string, string>();
  const unfinished: string[] = [];
  const understand = (line: string) => {
    // Killed in the call, its thread has nothing to tell of it: "= ?".
    const cut = /^(.*)\) += \?[^)]*$/s.exec(line)?.[1];
    if (cut !== undefined) unfinished.push(cut);
    const call = callOf(line, root);
    if (call !== null) calls.push(call);
  };
  for await (const line of createInterface({ input: createReadStream(file, "latin1") })) {
    const [, thread = "", rest = ""] = /^(\d+) +(.*)$/.exec(line) ?? [];
    const isBegun = rest.endsWith(" <unfinished ...>");
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
    if (isBegun) {
      const beginning = rest.slice(0, -" <unfinished ...>".length);
      begun.set(thread, beginning);
      if (isSending(beginning)) understand(`${beginning}) = 0`);
    } else if (resumed) {
      const beginning = begun.get(thread) ?? "";
      begun.delete(thread);
      if (!isSending(beginning)) understand(beginning + resumed[1]);
    } else understand(rest);
  }
  const interrupted = [...unfinished, ...begun.values()].flatMap(
    (line) => callOf(`${line}) = 0`, root) ?? [],
  );
  return { calls, unfinished: interrupted.filter(({ kind }) => kind === "write") };
}

/** To a socket, whose descriptor strace shows as `socket:[inode]`. */
function isSending(line: string): boolean {
  const [, args = ""] = /^(?:sendto|sendmsg|write|writev)\((.*)/s.exec(line) ?? [];
  return pathOfDescriptor(args).startsWith("socket:");
}

function callOf(line: string, root: string): Call | null {
  const [, name = "", args = "", result = ""] = /^(\w+)\((.*)\) += (-?\d+|\?)/s.exec(line) ?? [];
  if (name === "" || result.startsWith("-") || result === "?") return null;
  if (isSending(line)) return answerOf(args);
  const call = fileCallOf(name, args, root);
  return call?.path.startsWith(root) ? call : null;
}

/** Bytes of an answer of ours: its head and its body may be two texts of one call. */
function answerOf(args: string): Call | null {
  const text = stringsOf(args)
    .map((bytes) => bytes.toString("utf8"))
    .join("");
  return text.startsWith("HTTP/1.1 ") ? { kind: "answer", text } : null;
}

type FileCall = Exclude<Call, { kind: "answer" }>;

function fileCallOf(name: string, args: string, root: string): FileCall | null {
  const path = pathOfDescriptor(args);
  switch (name) {
    case "pwrite64":
      return { kind: "write", path, offset: lastNumber(args), data: whole(args) };
    case "write":
      return path.startsWith(root) ? { kind: "write", path, offset: null, data: whole(args) } : null;
    case "ftruncate":
      return { kind: "truncate", path, size: lastNumber(args) };
    case "fsync":
    case "fdatasync":
      return { kind: "sync", path };
    case "open":
    case "openat":
      return openOf(args);
    case "mkdir":
    case "mkdirat":
      return { kind: "mkdir", path: pathsNamed(args)[0] ?? "" };
    case "unlink":
    case "unlinkat":
      return { kind: "unlink", path: pathsNamed(args)[0] ?? "" };
    case "rename":
    case "renameat":
    case "renameat2":
      return { kind: "rename", path: pathsNamed(args)[0] ?? "", to: pathsNamed(args)[1] ?? "" };
    default:
      if (path.startsWith(root))
        throw new Error(`the trace has a ${name} of ${path}, which is not understood`);
      return null;
  }
}

function openOf(args: string): FileCall {
  const [path = ""] = pathsNamed(args);
  return { kind: "open", path, creates: args.includes("O_CREAT"), truncates: args.includes("O_TRUNC") };
}

/** `17</path>`: in hexadecimal too, or as it is. */
function pathOfDescriptor(args: string): string {
  const shown = /^\d+<([^>]*)>/.exec(args)?.[1] ?? "";
  return shown.startsWith("\\x") ? bytesOf(shown).toString("utf8") : shown;
}

function pathsNamed(args: string): string[] {
  return stringsOf(args).map((bytes) => bytes.toString("utf8"));
}

function stringsOf(args: string): Buffer[] {
  return [...args.matchAll(/"((?:\\x[0-9a-f]{2})*)"/g)].map(([, text = ""]) => bytesOf(text));
}

/** The one text of a write to a file, which must not have been cut short. */
function whole(args: string): Buffer {
  if (/"\.\.\./.test(args)) throw new Error("the trace has a write to a file that is too long for it");
  return stringsOf(args)[0] ?? Buffer.alloc(0);
}

function bytesOf(hexadecimal: string): Buffer {
  return Buffer.from(hexadecimal.replaceAll("\\x", ""), "hex");
}

function lastNumber(args: string): number {
  return Number(/(\d+)$/.exec(args)?.[1]);
}
