// `replay`: asks a server to send events again to one endpoint, and waits until they are in its queue. The job is
// the server's: it goes on when the waiting ends, and after a restart.
import { constants } from "node:os";
import { isatty } from "node:tty";
import { type Command, InvalidArgumentError, Option } from "commander";
import { parseDuration } from "../base/duration.ts";
import { isId } from "../base/id.ts";
import { writeWhole } from "../base/stdout.ts";
import { parseRfc3339, rfc3339 } from "../base/time.ts";
import { deliveryStatuses } from "../wire/tiers.ts";
import type { Run } from "./command.ts";
import { complain, EXIT, printJson } from "./output.ts";
import { type Asked, addRemoteOptions, ask, locate, type Remote } from "./remote.ts";
import { firstStopSignal } from "./signals.ts";

interface Options {
  readonly since: number;
  readonly until?: number;
  readonly status?: readonly string[];
  readonly type?: readonly string[];
  readonly missingOnly?: true;
  readonly wait: boolean;
}

/** What is looked at; printed is the whole of what the server told. */
interface Replay {
  readonly id: string;
  readonly status: string;
  readonly progress: number;
  readonly queued: number;
}

/** A small replay is done within milliseconds; a long one is asked for once a second. */
const ASK_FIRST_MS = 50;
const ASK_MAX_MS = 1_000;
/** A server that is restarted is back within this; the job then goes on. */
const PATIENCE_MS = 30_000;

export function addReplay(program: Command, run: Run): void {
  const command = program
    .command("replay")
    .description("Send events of a range of time again to one endpoint.")
    .argument("<ENDPOINT_ID>", "The endpoint, as GET /api/endpoints lists it.", endpointId)
    .addOption(new Option("--since <TIME>", SINCE).argParser(moment).makeOptionMandatory())
    .addOption(
      new Option("--until <TIME>", "Only events accepted before this. Default: now.").argParser(moment),
    )
    .addOption(new Option("--status <WORDS>", STATUS).argParser(statusWords))
    .addOption(
      new Option("--type <PATTERNS>", "Only these event types: order.*,invoice.paid").argParser(words),
    )
    .addOption(new Option("--missing-only", MISSING).conflicts("status"))
    .option("--no-wait", "Do not wait until all of it is in the server's queue.");
  addRemoteOptions(command).action(async (id: string, options: Options, command: Command) => {
    const located = await locate(command, run.env, "manage");
    if (located.ok) return run.finish(await replay(located.remote, id, options));
    complain(located.detail);
    run.finish(located.exitCode);
  });
}

const SINCE = "Events accepted at this time or later: 2026-11-21T08:30:00Z, or so long ago: 30m, 72h.";
const STATUS = `Those of its deliveries: ${deliveryStatuses.join(", ")}; several by commas. Default: dead_letter`;
const MISSING = "Instead: events that it never got because it was made or changed after them.";

function endpointId(text: string): string {
  if (isId(text)) return text;
  throw new InvalidArgumentError("It must be the id of an endpoint: GET /api/endpoints lists them.");
}

/** A time, or a duration back from now, in milliseconds since 1970. */
function moment(text: string): number {
  const ago = parseDuration(text);
  const ms = ago.ok ? Date.now() - ago.value : parseRfc3339(text.trim());
  if (ms !== null && ms >= 0) return ms;
  throw new InvalidArgumentError(
    "It must be a time like 2026-11-21T08:30:00Z, or a duration back from now like 30m or 72h (ms, s, m or h).",
  );
}

function words(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, ...text.split(",").map((word) => word.trim())];
}

function statusWords(text: string, before?: readonly string[]): readonly string[] {
  const known: readonly string[] = deliveryStatuses;
  if (words(text).every((word) => known.includes(word))) return words(text, before);
  throw new InvalidArgumentError(`There are ${known.join(", ")}.`);
}

async function replay(remote: Remote, endpoint: string, options: Options): Promise<number> {
  const begun = await ask(remote, "POST", `/api/endpoints/${endpoint}/replay`, bodyOf(options));
  if (begun.kind !== "answered") return failed(begun.detail);
  if (!isReplay(begun.body)) return failed(`the server at ${remote.url} answered with something else.`);
  if (options.wait && begun.body.status !== "completed") return await wait(remote, begun.body);
  printJson(begun.body);
  return EXIT.ok;
}

function bodyOf({ since, until, status, type, missingOnly }: Options) {
  return {
    since: rfc3339(since),
    ...(until === undefined ? {} : { until: rfc3339(until) }),
    ...(status === undefined ? {} : { status }),
    ...(type === undefined ? {} : { event_types: type }),
    ...(missingOnly === undefined ? {} : { missing_only: true }),
  };
}

async function wait(remote: Remote, begun: Replay): Promise<number> {
  const ended = await Promise.race([firstStopSignal(), completion(remote, begun)]);
  showProgress(null);
  if (typeof ended === "string") {
    complain(`not waiting any longer. The replay goes on in the server: GET /api/replays/${begun.id}.`);
    return 128 + constants.signals[ended];
  }
  if (ended.kind !== "answered")
    return failed(`${ended.detail.replace(/\.$/, "")}. How far it is, GET /api/replays/${begun.id} tells.`);
  printJson(ended.body);
  return EXIT.ok;
}

/** Asks until the replay is completed; else the last answer, when the server refuses or is gone for too long. */
async function completion(remote: Remote, begun: Replay): Promise<Asked> {
  let answeredMs = performance.now();
  showProgress(begun);
  for (let pauseMs = ASK_FIRST_MS; ; pauseMs = Math.min(pauseMs * 2, ASK_MAX_MS)) {
    await Bun.sleep(pauseMs);
    const asked = await ask(remote, "GET", `/api/replays/${begun.id}`);
    if (asked.kind === "answered" && isReplay(asked.body)) {
      if (asked.body.status === "completed") return asked;
      answeredMs = performance.now();
      showProgress(asked.body);
    } else if (!mayPass(asked) || performance.now() - answeredMs > PATIENCE_MS) {
      return asked.kind === "answered" ? { kind: "unreachable", detail: "the answer is no replay" } : asked;
    }
  }
}

function mayPass(asked: Asked): boolean {
  if (asked.kind === "refused") return asked.status === 429 || asked.status >= 500;
  return asked.kind === "unreachable";
}

function isReplay(body: unknown): body is Replay {
  if (typeof body !== "object" || body === null) return false;
  const { id, status, progress, queued } = body as Partial<Record<keyof Replay, unknown>>;
  const hasNumbers = typeof progress === "number" && typeof queued === "number";
  return typeof id === "string" && isId(id) && typeof status === "string" && hasNumbers;
}

/** One line on a terminal, written anew each time; null takes it away. Elsewhere nothing is written. */
function showProgress(replay: Replay | null): void {
  if (!isatty(2)) return;
  const text = replay === null ? "" : `${Math.floor(replay.progress * 100)} %, ${replay.queued} in the queue`;
  writeWhole(2, `\r${text}\u001b[K`);
}

function failed(detail: string): number {
  complain(detail);
  return EXIT.failure;
}
