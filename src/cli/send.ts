// `send`: one event, or with `-` one for each line of standard input. An import that was interrupted is run again: with
// --dedup-prefix a line has the same dedup id in every run, so what the server has already is only counted.
import { constants } from "node:os";
import { type Command, InvalidArgumentError, Option } from "commander";
import { rfc3339 } from "../base/time.ts";
import type { SentResult } from "../sdk/batch.ts";
import type { NewEvent } from "../sdk/event.ts";
import { DEDUP_ID_CHARACTERS_MAX, isDedupId, PAYLOAD_BYTES_MAX } from "../wire/event.ts";
import { TYPE } from "../wire/type_pattern.ts";
import { clientOf, failureOf } from "./client.ts";
import type { Run } from "./command.ts";
import { type Line, readLines } from "./lines.ts";
import { futureMoment } from "./moment.ts";
import { complain, EXIT, printJson } from "./output.ts";
import { progressLine } from "./progress.ts";
import { addRemoteOptions, locate, type Remote } from "./remote.ts";
import { firstStopSignal } from "./signals.ts";

interface Options {
  readonly dedupId?: string;
  readonly dedupPrefix?: string;
  readonly deliverAt?: number;
}

/** An event of a line of standard input. */
interface LineEvent {
  readonly type: string;
  readonly payloadText: string;
  readonly dedupId?: string;
  readonly deliverAt?: string;
  readonly line: number;
}

/** The largest payload, and some white space around it: what is beyond it need not be kept to be refused. */
const LINE_BYTES_MAX = 2 * PAYLOAD_BYTES_MAX;
/** The prefix has `-` and a line number behind it. */
const PREFIX_CHARACTERS_MAX = DEDUP_ID_CHARACTERS_MAX - 17;
/** With the pauses between them, a server that is started again is back within these. */
const RETRIES_MAX = 8;

export function addSend(program: Command, run: Run): void {
  const command = program
    .command("send")
    .description("Send an event; with -, one for each line of standard input (NDJSON).")
    .argument("<TYPE>", "What happened: order.created", eventType)
    .argument("[JSON]", "The payload; - reads payloads from standard input, one a line. Default: {}", payload)
    .addOption(new Option("--dedup-id <ID>", DEDUP_ID).argParser(dedupId))
    .addOption(
      new Option("--dedup-prefix <PREFIX>", DEDUP_PREFIX).argParser(dedupPrefix).conflicts("dedupId"),
    )
    .addOption(new Option("--deliver-at <TIME>", DELIVER_AT).argParser(futureMoment));
  addRemoteOptions(command).action(
    async (type: string, json: string | undefined, options: Options, command: Command) => {
      const mistake = mistakeOf(json, options);
      if (mistake !== null) command.error(`error: ${mistake}`, { exitCode: EXIT.usage });
      const located = await locate(command, run.env, "publish");
      if (!located.ok) {
        complain(located.detail);
        return run.finish(located.exitCode);
      }
      const { remote } = located;
      const sent =
        json === "-" ? sendLines(remote, type, options) : sendOne(remote, type, json ?? "{}", options);
      run.finish(await sent);
    },
  );
}

const DEDUP_ID = "Your own id of the event: a second event with it within 24 hours is not stored.";
const DEDUP_PREFIX =
  "With -: line n gets the dedup id PREFIX-n, so the same input can be sent again after an interruption (24 hours).";
const DELIVER_AT = "Hidden and not delivered before: a time, or so long from now: 30m, 72h.";

function eventType(text: string): string {
  if (TYPE.test(text)) return text;
  throw new InvalidArgumentError("It must have 1 to 255 characters of A-Z a-z 0-9 . _ : / -");
}

function payload(text: string): string {
  if (text === "-") return text;
  try {
    JSON.parse(text);
    return text;
  } catch {
    throw new InvalidArgumentError(
      `It must be JSON: '{"order":1}', '"a text"', 42, or - for standard input.`,
    );
  }
}

function dedupId(text: string): string {
  if (isDedupId(text)) return text;
  throw new InvalidArgumentError(`It must have 1 to ${DEDUP_ID_CHARACTERS_MAX} characters.`);
}

function dedupPrefix(text: string): string {
  if (isDedupId(text) && text.length <= PREFIX_CHARACTERS_MAX) return text;
  throw new InvalidArgumentError(`It must have 1 to ${PREFIX_CHARACTERS_MAX} characters.`);
}

function mistakeOf(json: string | undefined, { dedupId, dedupPrefix }: Options): string | null {
  if (json === "-" && dedupId !== undefined)
    return "--dedup-id is for one event; with - give --dedup-prefix, which numbers the lines.";
  if (json !== "-" && dedupPrefix !== undefined)
    return "--dedup-prefix is for lines of standard input (-); for one event give --dedup-id.";
  return null;
}

async function sendOne(remote: Remote, type: string, payloadText: string, options: Options): Promise<number> {
  const { dedupId } = options;
  const event = { type, payloadText, ...(dedupId === undefined ? {} : { dedupId }), ...deliverAt(options) };
  try {
    const { id, status, createdAt } = await clientOf(remote).send(event);
    printJson({ id, status, ...(createdAt === null ? {} : { created_at: createdAt }) });
    return EXIT.ok;
  } catch (error) {
    complain(failureOf(remote, error));
    return EXIT.failure;
  }
}

async function sendLines(remote: Remote, type: string, options: Options): Promise<number> {
  const summary = new Summary();
  const stop = new AbortController();
  const stopped = firstStopSignal();
  void stopped.then(() => stop.abort());
  const triggers = clientOf(remote, {
    retriesMax: RETRIES_MAX,
    onRetry: (error, waitMs) => summary.show(waitMs < 1_000 ? "" : `, waiting: ${error.code}`),
  });
  const events = eventsOf(readLines(Bun.stdin.stream(), LINE_BYTES_MAX), type, options, summary);
  try {
    for await (const sent of triggers.sendAll<LineEvent>(events, { signal: stop.signal })) {
      sent.results.forEach((result, at) => {
        summary.add(sent.events[at]?.line ?? 0, result);
      });
      summary.show();
    }
    summary.isComplete = true;
  } catch (error) {
    progressLine(null);
    complain(stop.signal.aborted ? "stopped." : failureOf(remote, error));
    if (summary.unknown > 0) complain(unknownText(summary.unknown, options.dedupPrefix));
  }
  progressLine(null);
  printJson(summary);
  if (stop.signal.aborted) return 128 + constants.signals[await stopped];
  return summary.isComplete && summary.rejected === 0 ? EXIT.ok : EXIT.failure;
}

function unknownText(count: number, prefix: string | undefined): string {
  const again =
    "send the same input again, with the same --dedup-prefix: what is there already is not stored twice.";
  const events = `of the last ${count} event${count === 1 ? "" : "s"} it is not known whether they were stored`;
  return `${events}${prefix === undefined ? "." : `: ${again}`}`;
}

/** Lines as events; what is no event is told at once, and left out. */
async function* eventsOf(
  lines: AsyncIterable<Line>,
  type: string,
  options: Options,
  summary: Summary,
): AsyncGenerator<LineEvent & NewEvent> {
  const common = { type, ...deliverAt(options) };
  for await (const line of lines) {
    const text = line.text?.trim();
    if (text === "") continue;
    summary.lines++;
    if (line.text === null) summary.reject(line.number, line.detail);
    if (text === undefined) continue;
    summary.unknown++;
    const prefix = options.dedupPrefix;
    const dedup = prefix === undefined ? {} : { dedupId: `${prefix}-${line.number}` };
    yield { ...common, ...dedup, payloadText: text, line: line.number };
  }
}

function deliverAt({ deliverAt }: Options): { deliverAt?: string } {
  return deliverAt === undefined ? {} : { deliverAt: rfc3339(deliverAt) };
}

/** What became of the lines. Its fields, but for the clock's, are what is printed at the end. */
class Summary {
  /** Without the empty ones. */
  lines = 0;
  accepted = 0;
  duplicates = 0;
  rejected = 0;
  /** Read, and not answered for: only when the import ended early. */
  unknown = 0;
  isComplete = false;
  readonly #startedMs = performance.now();

  add(line: number, result: SentResult): void {
    this.unknown--;
    if (result.status === "accepted") this.accepted++;
    else if (result.status === "duplicate") this.duplicates++;
    else
      this.reject(
        line,
        result.code === "malformed_json" ? "it is not JSON" : `${result.code}: ${result.detail}`,
      );
  }

  reject(line: number, detail: string): void {
    this.rejected++;
    progressLine(null);
    complain(`line ${line}: ${detail}`);
  }

  show(note = ""): void {
    const done = this.accepted + this.duplicates;
    const perSecond = Math.round((done * 1_000) / (performance.now() - this.#startedMs));
    const { lines, accepted, duplicates, rejected } = this;
    const counts = `${lines} lines: ${accepted} accepted, ${duplicates} duplicates, ${rejected} rejected`;
    progressLine(`${counts}, ${perSecond}/s${note}`);
  }

  toJSON() {
    const { lines, accepted, duplicates, rejected, unknown, isComplete } = this;
    return { lines, accepted, duplicates, rejected, unknown, complete: isComplete };
  }
}
