// What the commands share that ask a server over HTTP: where it is, which key they show, and how an answer differs
// from a refusal. ZAPIER_TRIGGERS_URL and ZAPIER_TRIGGERS_KEY belong to these commands and are no settings of the
// server. The key is never in what is said, whatever the server or the runtime puts into its words.
import type { Command } from "commander";
import { formatDuration } from "../base/duration.ts";
import { isLoopback } from "../config.ts";
import type { Scope } from "../wire/tiers.ts";
import { EXIT } from "./output.ts";
import { runningServer } from "./running.ts";
import { settingsOf } from "./settings.ts";

export interface Remote {
  /** Without a slash at its end. */
  readonly url: string;
  readonly key: string;
  /** On this machine: what is said to it does not go through a proxy of the environment. */
  readonly isLocal: boolean;
}

export type Located =
  | { readonly ok: true; readonly remote: Remote }
  | { readonly ok: false; readonly exitCode: number; readonly detail: string };

export type Asked =
  | { readonly kind: "answered"; readonly body: unknown }
  | { readonly kind: "refused"; readonly status: number; readonly detail: string }
  | { readonly kind: "unreachable"; readonly detail: string };

const ANSWER_MAX_MS = 30_000;
const DETAIL_CHARACTERS_MAX = 500;
const URL_EXAMPLE = "http://127.0.0.1:3000";

/** Adds `--url` and `--key`, how they are given otherwise, and `after`: what the help says at its end. */
export function addRemoteOptions(command: Command, after = ""): Command {
  return command
    .option(
      "--url <URL>",
      "Address of the server. Default: ZAPIER_TRIGGERS_URL, or the server on --data-dir.",
    )
    .option(
      "--key <KEY>",
      "API key. Default: ZAPIER_TRIGGERS_KEY, which the list of processes does not show.",
    )
    .addHelpText("after", `${after}\nSettings such as --data-dir are listed by zapier-triggers --help.`);
}

/** Finds the server and the key that `command` was called for. `scope`: what the key must be good for. */
export async function locate(
  command: Command,
  env: Record<string, string | undefined>,
  scope: Scope,
): Promise<Located> {
  const given: { url?: string; key?: string; dataDir?: string } = command.optsWithGlobals();
  const key = (given.key ?? env.ZAPIER_TRIGGERS_KEY ?? "").trim();
  // A header cannot carry anything else, and the runtime's error would repeat it.
  if (!/^[\x21-\x7e]+$/.test(key)) return usage(key === "" ? missingKey(scope) : UNUSABLE_KEY);
  // A flag wins over the environment, so the variable does not reach past --data-dir to another server.
  const variable = given.dataDir === undefined ? env.ZAPIER_TRIGGERS_URL : undefined;
  const text = (given.url ?? variable ?? "").trim();
  if (text === "") return await onDataDir(command, env, key);
  const url = parseUrl(text);
  if (url === null)
    return usage(given.url === undefined ? unusableUrl("ZAPIER_TRIGGERS_URL") : UNUSABLE_FLAG);
  const isLocal = isLoopback(url.hostname.replace(/^\[|\]$/g, ""));
  return { ok: true, remote: { url: url.href.replace(/\/+$/, ""), key, isLocal } };
}

/** One call with the key; JSON both ways. Never throws. */
export async function ask(
  remote: Remote,
  method: "GET" | "POST",
  path: string,
  body?: unknown,
): Promise<Asked> {
  try {
    const answer = await fetch(remote.url + path, {
      method,
      headers: { "x-api-key": remote.key, "content-type": "application/json" },
      // The key does not follow a redirect to wherever it points.
      redirect: "manual",
      signal: AbortSignal.timeout(ANSWER_MAX_MS),
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(remote.isLocal ? { proxy: false } : {}),
    });
    const { status } = answer;
    const text = await answer.text();
    const json = parse(text);
    if (answer.ok && json !== undefined) return { kind: "answered", body: json };
    const detail = answer.ok ? NOT_THIS_SERVICE : (redirection(answer) ?? detailOf(json) ?? text);
    return { kind: "refused", status, detail: say(remote, `answered ${status}: ${detail}`) };
  } catch (error) {
    return { kind: "unreachable", detail: say(remote, whyNoAnswer(error)) };
  }
}

async function onDataDir(
  command: Command,
  env: Record<string, string | undefined>,
  key: string,
): Promise<Located> {
  const loaded = settingsOf(command, env);
  if (!loaded.ok) return usage(loaded.detail);
  const { dataDir } = loaded.config;
  const url = await runningServer(dataDir);
  if (url !== null) return { ok: true, remote: { url, key, isLocal: true } };
  const detail = `no server runs on the data directory ${dataDir}: start it, or name one with --url ${URL_EXAMPLE}.`;
  return { ok: false, exitCode: EXIT.failure, detail };
}

function usage(detail: string): Located {
  return { ok: false, exitCode: EXIT.usage, detail };
}

function missingKey(scope: Scope): string {
  return (
    `an API key with the scope ${scope} is missing: set ZAPIER_TRIGGERS_KEY. A new organization's key, which ` +
    "may do everything, comes from zapier-triggers keys create; another key of yours from POST /api/keys."
  );
}

const UNUSABLE_KEY =
  "the API key has white space or a character that an HTTP header cannot carry: copy all 64 characters of it.";
const UNUSABLE_FLAG = unusableUrl("--url");
const NOT_THIS_SERVICE = "that is not how this service answers. Is it the right address?";

/** The text is not repeated: it may hold a password. */
function unusableUrl(name: string): string {
  return `${name} is not the address of a server: write it like ${URL_EXAMPLE}, without user, query or fragment.`;
}

function parseUrl(text: string): URL | null {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol)) return null;
  return url.username || url.password || /[?#]/.test(text) ? null : url;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function redirection({ status, headers }: Response): string | null {
  const location = headers.get("location");
  return status >= 300 && location !== null ? `it points to ${location}; give the final address` : null;
}

/** What a problem document says; null when it is none. */
function detailOf(json: unknown): string | null {
  const isProblem = typeof json === "object" && json !== null && "detail" in json;
  return isProblem ? String(json.detail) : null;
}

function whyNoAnswer(error: unknown): string {
  if (!(error instanceof Error)) return `did not answer: ${error}`;
  if (error.name === "TimeoutError") return `did not answer within ${formatDuration(ANSWER_MAX_MS)}`;
  const code = "code" in error ? error.code : undefined;
  if (code === "ConnectionRefused" || code === "ECONNREFUSED")
    return "cannot be reached: nobody listens there";
  return `cannot be reached: ${error.message}`;
}

/** One line without control characters, which could redraw a terminal, and without the key. */
export function say({ url, key }: Remote, what: string): string {
  const line = `the server at ${url} ${what}`.replaceAll(key, "[key]").replace(/\p{Cc}+/gu, " ");
  return line.slice(0, DETAIL_CHARACTERS_MAX).trimEnd();
}
