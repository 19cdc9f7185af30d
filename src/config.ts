// Every setting of the server, in one table: it makes --help, the README section and the checks.
// Nothing is read from outside: the caller hands in the environment and the flags. A setting that is misspelt
// stops the start, because the alternative is that it is silently ignored.
import { misspelt, nearest } from "./base/nearest.ts";
import {
  duration,
  durations,
  host,
  isLoopback,
  networks,
  oneOf,
  origins,
  path,
  type Reader,
  secretKeys,
  token,
  wholeNumber,
  yesOrNo,
} from "./base/setting_kinds.ts";

export { isLoopback };

/** Where the server listens, what it keeps and how it behaves; all of it checked. Times are milliseconds. */
export interface Config {
  readonly host: string;
  /** 0 asks the system for a free port. */
  readonly port: number;
  readonly dataDir: string;
  readonly adminToken: string | null;
  readonly metricsToken: string | null;
  /** Empty: no cross-origin call is allowed. `["*"]`: every one is. */
  readonly corsOrigins: readonly string[];
  readonly durability: "full" | "normal";
  readonly retryScheduleMs: readonly number[];
  readonly webhookTimeoutMs: number;
  /** true: every address may be called. A list: public addresses and these ranges (CIDR). */
  readonly webhookAllowPrivate: boolean | readonly string[];
  readonly disableWebhookDelivery: boolean;
  /** Hexadecimal, 32 bytes each: the first seals, all open. Empty: signing secrets are stored as they are. */
  readonly encryptionKeys: readonly string[];
  readonly retentionDays: number;
  readonly maxQueuedEvents: number;
  readonly logLevel: "debug" | "info" | "warn" | "error" | "silent";
  /** null: pretty on a terminal, else json. */
  readonly logFormat: "json" | "pretty" | null;
}

/** What a person is told about one setting. */
export interface SettingText {
  /** The environment variable. The flag is the same in lower case with dashes, without the leading `--`. */
  readonly name: string;
  readonly flag: string;
  readonly group: "Network" | "Access" | "Storage" | "Delivery" | "Logs";
  /** The kind of value, as --help shows it. */
  readonly value: string;
  /** A flag without a value means `true`. */
  readonly bare: boolean;
  readonly help: string;
  /** The text of the default; null when it is unset. */
  readonly initial: string | null;
  readonly example: string;
  readonly secret: boolean;
}

interface Setting<T> extends SettingText {
  readonly read: Reader<T>;
  /** The value when neither the environment, a flag, nor `initial` gives one. */
  readonly absent: T;
}

type Given = Pick<SettingText, "name" | "group" | "value" | "help" | "example"> &
  Partial<Pick<SettingText, "bare" | "initial" | "secret">>;

function setting<T>(read: Reader<T>, absent: NoInfer<T>, given: Given): Setting<T> {
  const flag = given.name.toLowerCase().replaceAll("_", "-");
  return { bare: false, initial: null, secret: false, ...given, flag, read, absent };
}

const DAY_MS = 86_400_000;
export const ADMIN_TOKEN_CHARACTERS_MIN = 16;
const TOKEN_EXAMPLE = "$(openssl rand -hex 32)";

const TABLE: { readonly [K in keyof Config]: Setting<Config[K]> } = {
  host: setting(host, "", {
    name: "HOST",
    group: "Network",
    value: "ADDRESS",
    initial: "127.0.0.1",
    example: "0.0.0.0",
    help: "Address to listen on. Anything but a loopback address needs ADMIN_TOKEN.",
  }),
  port: setting(wholeNumber(0, 65_535), 0, {
    name: "PORT",
    group: "Network",
    value: "NUMBER",
    initial: "3000",
    example: "3000",
    help: "Port to listen on; 0 takes a free one.",
  }),
  corsOrigins: setting<readonly string[]>(origins, [], {
    name: "CORS_ORIGINS",
    group: "Network",
    value: "ORIGINS",
    example: "https://app.example.com,https://admin.example.com",
    help: "Web origins whose pages may call the API, separated by commas, or *.",
  }),
  adminToken: setting<string | null>(token(ADMIN_TOKEN_CHARACTERS_MIN), null, {
    name: "ADMIN_TOKEN",
    group: "Access",
    value: "TOKEN",
    example: TOKEN_EXAMPLE,
    secret: true,
    help:
      `Token for making keys and for /api/admin, at least ${ADMIN_TOKEN_CHARACTERS_MIN} characters. ` +
      "Unset on a loopback address, both are open to this machine.",
  }),
  metricsToken: setting<string | null>(token(1), null, {
    name: "METRICS_TOKEN",
    group: "Access",
    value: "TOKEN",
    example: TOKEN_EXAMPLE,
    secret: true,
    help: "Token for /metrics. Unset, it is open.",
  }),
  dataDir: setting(path, "", {
    name: "DATA_DIR",
    group: "Storage",
    value: "PATH",
    initial: "./data",
    example: "/var/lib/zapier-triggers",
    help: "Directory of the database, triggers.db. One process at a time.",
  }),
  durability: setting<"full" | "normal">(oneOf("full", "normal"), "full", {
    name: "DURABILITY",
    group: "Storage",
    value: "full|normal",
    initial: "full",
    example: "full",
    help:
      "full: on disk (fsync) before the answer. " +
      "normal: survives a crash of the process, not of the machine.",
  }),
  encryptionKeys: setting<readonly string[]>(secretKeys, [], {
    name: "ENCRYPTION_KEY",
    group: "Storage",
    value: "KEY",
    example: TOKEN_EXAMPLE,
    secret: true,
    help:
      "Encrypts signing secrets and endpoints' own headers in the database: 32 bytes in hexadecimal. " +
      "To exchange it: NEW,OLD for one start.",
  }),
  retentionDays: setting(wholeNumber(1, 36_500), 1, {
    name: "RETENTION_DAYS",
    group: "Storage",
    value: "DAYS",
    initial: "30",
    example: "30",
    help: "How long delivered and dead-lettered events are kept. Undelivered ones stay.",
  }),
  maxQueuedEvents: setting(wholeNumber(1, 10_000_000), 1, {
    name: "MAX_QUEUED_EVENTS",
    group: "Storage",
    value: "NUMBER",
    initial: "10000",
    example: "10000",
    help: "Events that may wait to be written. Beyond it, ingest answers 503.",
  }),
  retryScheduleMs: setting<readonly number[]>(durations(1, 30 * DAY_MS, 100), [], {
    name: "RETRY_SCHEDULE",
    group: "Delivery",
    value: "DURATIONS",
    initial: "5s,1m,5m,30m,2h,5h,10h,14h,20h,24h",
    example: "1s,2s,4s,8s,16s",
    help: "Waits before each further attempt, each ±20 %. After the last one: dead_letter.",
  }),
  webhookTimeoutMs: setting(duration(1, 600_000), 1, {
    name: "WEBHOOK_TIMEOUT",
    group: "Delivery",
    value: "DURATION",
    initial: "15s",
    example: "15s",
    help: "Time for one attempt: connect, headers and body.",
  }),
  webhookAllowPrivate: setting<boolean | readonly string[]>(networks, false, {
    name: "WEBHOOK_ALLOW_PRIVATE",
    group: "Delivery",
    value: "true|RANGES",
    bare: true,
    example: "10.0.0.0/8,192.168.1.20",
    help: "Lets webhooks go to private addresses, and use http: true, or ranges separated by commas.",
  }),
  disableWebhookDelivery: setting(yesOrNo, false, {
    name: "DISABLE_WEBHOOK_DELIVERY",
    group: "Delivery",
    value: "true|false",
    bare: true,
    example: "true",
    help: "Sends no webhook; events wait until it is lifted.",
  }),
  logLevel: setting<Config["logLevel"]>(oneOf("debug", "info", "warn", "error", "silent"), "info", {
    name: "LOG_LEVEL",
    group: "Logs",
    value: "LEVEL",
    initial: "info",
    example: "warn",
    help: "debug, info, warn, error or silent.",
  }),
  logFormat: setting<Config["logFormat"]>(oneOf("json", "pretty"), null, {
    name: "LOG_FORMAT",
    group: "Logs",
    value: "json|pretty",
    example: "json",
    help: "One JSON object a line, or lines for a person. Unset: pretty on a terminal, else json.",
  }),
};

/** The settings in the order they are shown. */
export const SETTINGS: readonly SettingText[] = Object.values(TABLE);

export type LoadedConfig =
  | { readonly ok: true; readonly config: Config }
  | { readonly ok: false; readonly detail: string };

/**
 * Reads all settings. `flags` is keyed by flag name (`data-dir`) and wins over `env`; an empty text is unset.
 * What is wrong comes back in `detail`, one sentence a line, each naming its setting; tokens are never in it.
 */
export function loadConfig(
  env: Readonly<Record<string, string | undefined>>,
  flags: Readonly<Record<string, string | undefined>>,
): LoadedConfig {
  const problems = [...misspeltVariables(env), ...unknownFlags(flags)];
  const values: Partial<Record<keyof Config, unknown>> = {};
  for (const key of Object.keys(TABLE) as (keyof Config)[]) {
    const one: Setting<unknown> = TABLE[key];
    const given = textOf(one, env, flags);
    if (given === null) {
      values[key] = one.absent;
      continue;
    }
    const read = one.read(given.text);
    if (read.ok) values[key] = read.value;
    else problems.push(sentence(one, given, read.detail));
  }
  // Each key was read by the reader that its type in TABLE demands.
  const config = Object.freeze(values) as Config;
  if (config.host !== undefined && config.adminToken === null && !isLoopback(config.host))
    problems.push(exposed(config.host));
  return problems.length === 0 ? { ok: true, config } : { ok: false, detail: problems.join("\n") };
}

/** Whether anyone who reaches the port may make keys and administer: no ADMIN_TOKEN, and only this machine does. */
export function openMode(config: Pick<Config, "host" | "adminToken">): boolean {
  return config.adminToken === null && isLoopback(config.host);
}

/** The README's table of settings: Markdown, with its columns aligned as the formatter wants them. */
export function settingsTable(): string {
  const rows = [
    ["name", "default", "what it does"],
    ...SETTINGS.map(({ name, initial, help }) => [
      `\`${name}\``,
      initial === null ? "unset" : `\`${initial}\``,
      help.replaceAll("|", "\\|"),
    ]),
  ];
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const lines = rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)));
  lines.splice(
    1,
    0,
    widths.map((width) => "-".repeat(width)),
  );
  return lines.map((line) => `| ${line.join(" | ")} |`).join("\n");
}

interface GivenText {
  readonly text: string;
  readonly fromFlag: boolean;
}

function textOf(
  one: SettingText,
  env: Readonly<Record<string, string | undefined>>,
  flags: Readonly<Record<string, string | undefined>>,
): GivenText | null {
  for (const [text, fromFlag] of [
    [flags[one.flag], true],
    [env[one.name], false],
    [one.initial ?? undefined, false],
  ] as const) {
    // A token is taken as it stands: trimmed, "   " would count as unset and open the server.
    const trimmed = one.secret ? text : text?.trim();
    if (trimmed) return { text: trimmed, fromFlag };
  }
  return null;
}

function sentence(one: SettingText, given: GivenText, detail: string): string {
  const name = given.fromFlag ? `${one.name} (from --${one.flag})` : one.name;
  const shown = given.text.length > 80 ? `${given.text.slice(0, 80)}...` : given.text;
  const problem = one.secret ? `${name} is not usable` : `${name} is ${JSON.stringify(shown)}`;
  const example = given.fromFlag ? `--${one.flag}=${one.example}` : `${one.name}=${one.example}`;
  return `${problem}: ${detail}. Write it like ${example}.`;
}

function exposed(host: string): string {
  return (
    `HOST is "${host}", which other machines can reach, and ADMIN_TOKEN is not set: anyone could make keys and ` +
    `read or erase every organization. Set a token, for example ADMIN_TOKEN=${TOKEN_EXAMPLE}, ` +
    "or listen on this machine alone with HOST=127.0.0.1."
  );
}

function misspeltVariables(env: Readonly<Record<string, string | undefined>>): string[] {
  const given = Object.keys(env).filter((variable) => env[variable]);
  const names = SETTINGS.map((one) => one.name);
  return misspelt(given, names).map(
    ({ name, meant }) =>
      `${name} is not a setting; did you mean ${meant}? Rename it, or take it out of the environment.`,
  );
}

function unknownFlags(flags: Readonly<Record<string, string | undefined>>): string[] {
  const known: readonly string[] = SETTINGS.map((one) => one.flag);
  return Object.keys(flags)
    .filter((flag) => !known.includes(flag))
    .map((flag) => {
      const meant = nearest(flag, known, 3);
      return `--${flag} is not a flag${meant ? `; did you mean --${meant}?` : "; see --help for the list."}`;
    });
}
