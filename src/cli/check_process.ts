// The running server as `doctor` sees it from outside.
import { existsSync, readFileSync } from "node:fs";
import { readHolder } from "../store/sqlite/lock.ts";
import { type Check, ok, warning } from "./check.ts";

const ANSWER_MAX_MS = 5_000;
/** 2 000 slow attempts, clients, streams and the database's own. */
const OPEN_FILES_MIN = 4_096;

export async function checkServer(dataDir: string, isServed: boolean): Promise<Check> {
  const holder = readHolder(dataDir);
  if (!isServed) {
    const left = holder === null ? "" : `; process ${holder.pid} did not stop in good order`;
    return ok("server", `none runs on this data directory${left}`);
  }
  if (holder === null) return ok("server", "a process has this data directory");
  const told = `process ${holder.pid} since ${holder.started_at}`;
  if (holder.url === null) return ok("server", `${told}, not listening (yet)`);
  const reasons = await whyNotReady(holder.url);
  if (reasons === null) return ok("server", `${told}, ready at ${holder.url}`);
  return warning("server", `${told}, at ${holder.url}: ${reasons}`, "See its log, and GET /health/ready.");
}

async function whyNotReady(url: string): Promise<string | null> {
  try {
    const signal = AbortSignal.timeout(ANSWER_MAX_MS);
    const answer = await fetch(`${url}/health/ready`, { proxy: false, redirect: "manual", signal });
    if (answer.ok) return null;
    const { reasons } = (await answer.json()) as { reasons?: readonly { detail: string }[] };
    return (
      reasons?.map(({ detail }) => detail.replace(/\.$/, "")).join("; ") ?? `it answers ${answer.status}`
    );
  } catch (error) {
    return `it does not answer (${error instanceof Error ? error.message.replace(/\.$/, "") : error})`;
  }
}

/** Of the server when it runs, else of this process, which a server started from here would inherit. */
export function checkOpenFiles(dataDir: string, isServed: boolean): Check {
  const pid = isServed ? readHolder(dataDir)?.pid : undefined;
  const file = `/proc/${pid ?? "self"}/limits`;
  const limit = existsSync(file)
    ? /^Max open files\s+(\d+)/m.exec(readFileSync(file, "utf8"))?.[1]
    : undefined;
  if (limit === undefined) return ok("open files", "the limit is not known on this system");
  const told = `at most ${limit}${pid === undefined ? "" : " for the server"}`;
  if (Number(limit) >= OPEN_FILES_MIN) return ok("open files", told);
  return warning(
    "open files",
    told,
    `Each client, stream and attempt takes one: raise it to ${OPEN_FILES_MIN} or more (systemd: LimitNOFILE=, shell: ulimit -n).`,
  );
}
