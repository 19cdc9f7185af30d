// Settings: defaults, what each one takes and refuses, and that what is wrong is said and never a token.

import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import path from "node:path";
import fc from "fast-check";
import { type Config, isLoopback, loadConfig, openMode, SETTINGS, settingsTable } from "../src/config.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";
const KEY = "a0".repeat(32);
const OLD_KEY = "0B".repeat(32);

function load(env: Record<string, string>, flags: Record<string, string> = {}): Config {
  const loaded = loadConfig(env, flags);
  if (!loaded.ok) throw new Error(loaded.detail);
  return loaded.config;
}

function refusal(env: Record<string, string>, flags: Record<string, string> = {}): string {
  const loaded = loadConfig(env, flags);
  if (loaded.ok) throw new Error(`taken: ${JSON.stringify({ env, flags })}`);
  return loaded.detail;
}

test("without any setting, the defaults are the documented ones", () => {
  const h = 3_600_000;
  const config = load({});
  expect(config).toEqual({
    host: "127.0.0.1",
    port: 3000,
    corsOrigins: [],
    adminToken: null,
    metricsToken: null,
    dataDir: "./data",
    durability: "full",
    encryptionKeys: [],
    retentionDays: 30,
    maxQueuedEvents: 10_000,
    retryScheduleMs: [5_000, 60_000, 300_000, 1_800_000, 2 * h, 5 * h, 10 * h, 14 * h, 20 * h, 24 * h],
    webhookTimeoutMs: 15_000,
    webhookAllowPrivate: false,
    disableWebhookDelivery: false,
    logLevel: "info",
    logFormat: null,
  });
  expect(openMode(config)).toBe(true);
});

describe("a setting takes", () => {
  const taken: [name: string, text: string, key: keyof Config, value: unknown][] = [
    ["HOST", "::1", "host", "::1"],
    ["HOST", "[::1]", "host", "::1"],
    ["HOST", "LocalHost", "host", "localhost"],
    ["PORT", "0", "port", 0],
    ["PORT", " 65535 ", "port", 65_535],
    ["DATA_DIR", "/var/lib/a b", "dataDir", "/var/lib/a b"],
    ["ADMIN_TOKEN", TOKEN, "adminToken", TOKEN],
    ["METRICS_TOKEN", "x", "metricsToken", "x"],
    ["CORS_ORIGINS", "*", "corsOrigins", ["*"]],
    [
      "CORS_ORIGINS",
      "https://A.example.com:443/, http://localhost:5173,https://a.example.com",
      "corsOrigins",
      ["https://a.example.com", "http://localhost:5173"],
    ],
    ["DURABILITY", "NORMAL", "durability", "normal"],
    ["ENCRYPTION_KEY", KEY, "encryptionKeys", [KEY]],
    ["ENCRYPTION_KEY", `${KEY}, ${OLD_KEY}`, "encryptionKeys", [KEY, OLD_KEY.toLowerCase()]],
    ["RETRY_SCHEDULE", "1s,2s,4s,8s,16s", "retryScheduleMs", [1_000, 2_000, 4_000, 8_000, 16_000]],
    ["RETRY_SCHEDULE", "150ms", "retryScheduleMs", [150]],
    ["WEBHOOK_TIMEOUT", "1m", "webhookTimeoutMs", 60_000],
    ["WEBHOOK_ALLOW_PRIVATE", "true", "webhookAllowPrivate", true],
    ["WEBHOOK_ALLOW_PRIVATE", "0", "webhookAllowPrivate", false],
    [
      "WEBHOOK_ALLOW_PRIVATE",
      "10.0.0.0/8, fd00::/8,192.168.1.20,::1",
      "webhookAllowPrivate",
      ["10.0.0.0/8", "fd00::/8", "192.168.1.20/32", "::1/128"],
    ],
    ["DISABLE_WEBHOOK_DELIVERY", "TRUE", "disableWebhookDelivery", true],
    ["DISABLE_WEBHOOK_DELIVERY", "false", "disableWebhookDelivery", false],
    ["RETENTION_DAYS", "1", "retentionDays", 1],
    ["MAX_QUEUED_EVENTS", "1", "maxQueuedEvents", 1],
    ["LOG_LEVEL", "silent", "logLevel", "silent"],
    ["LOG_FORMAT", "pretty", "logFormat", "pretty"],
  ];
  test.each(taken)("%s=%s, from the environment and as a flag", (name, text, key, value) => {
    expect(load({ [name]: text })[key]).toEqual(value as never);
    const flag = name.toLowerCase().replaceAll("_", "-");
    expect(load({}, { [flag]: text })[key]).toEqual(value as never);
  });
});

describe("a setting refuses", () => {
  const refused: [name: string, text: string, why: string][] = [
    ["HOST", "127.0.0.1:3000", "without a port"],
    ["HOST", "300.1.1.1", "IP address"],
    ["HOST", "127.1", "IP address"],
    ["HOST", "0177.0.0.1", "IP address"],
    ["HOST", "http://localhost", "without a port"],
    ["HOST", "a b", "host name"],
    ["HOST", "-a", "host name"],
    ["PORT", "65536", "from 0 to 65535"],
    ["PORT", "-1", "from 0 to 65535"],
    ["PORT", "3e3", "from 0 to 65535"],
    ["PORT", "0x50", "from 0 to 65535"],
    ["PORT", "80.0", "from 0 to 65535"],
    ["DATA_DIR", "~/data", "~"],
    ["CORS_ORIGINS", "app.example.com", "not an origin"],
    ["CORS_ORIGINS", "https://a.example.com/path", "more than scheme"],
    ["CORS_ORIGINS", "https://u:p@a.example.com", "more than scheme"],
    ["CORS_ORIGINS", "https://*.example.com", "wildcard"],
    ["CORS_ORIGINS", "*,https://a.example.com", "alone"],
    ["CORS_ORIGINS", "null", "not an origin"],
    ["CORS_ORIGINS", "https://a.example.com,", "not an origin"],
    ["CORS_ORIGINS", "ftp://a.example.com", "not an origin"],
    ["DURABILITY", "off", "full, normal"],
    ["RETRY_SCHEDULE", "5", "no unit"],
    ["RETRY_SCHEDULE", "5s,0s", "out of bounds"],
    ["RETRY_SCHEDULE", "721h", "out of bounds"],
    ["RETRY_SCHEDULE", Array(101).fill("1s").join(","), "more than 100"],
    ["WEBHOOK_TIMEOUT", "0s", "out of bounds"],
    ["WEBHOOK_TIMEOUT", "11m", "out of bounds"],
    ["WEBHOOK_TIMEOUT", "15s,16s", "whole number"],
    ["WEBHOOK_ALLOW_PRIVATE", "yes", "neither"],
    ["WEBHOOK_ALLOW_PRIVATE", "10.0.0.0/33", "neither"],
    ["WEBHOOK_ALLOW_PRIVATE", "10.0.0.0/8/8", "neither"],
    ["WEBHOOK_ALLOW_PRIVATE", "10.0.0/8", "neither"],
    ["WEBHOOK_ALLOW_PRIVATE", "010.0.0.0/8", "neither"],
    ["WEBHOOK_ALLOW_PRIVATE", "fd00::/129", "neither"],
    ["WEBHOOK_ALLOW_PRIVATE", "10.0.0.0/8,true", "neither"],
    ["WEBHOOK_ALLOW_PRIVATE", "10.0.0.0/", "neither"],
    ["DISABLE_WEBHOOK_DELIVERY", "2", "true or false"],
    ["RETENTION_DAYS", "0", "from 1"],
    ["RETENTION_DAYS", "1.5", "from 1"],
    ["MAX_QUEUED_EVENTS", "0", "from 1"],
    ["LOG_LEVEL", "trace", "debug, info"],
    ["LOG_FORMAT", "text", "json, pretty"],
  ];
  test.each(refused)("%s=%s, naming itself, the value and an example", (name, text, why) => {
    const shown = JSON.stringify(text.slice(0, 80)).slice(0, -1);
    for (const detail of [refusal({ [name]: text }), refusal({}, { [flagOf(name)]: text })]) {
      expect(detail).toStartWith(name);
      expect(detail).toContain(shown);
      expect(detail).toContain(why);
      expect(detail).toMatch(/Write it like \S+=\S+\.$/);
    }
    expect(refusal({}, { [flagOf(name)]: text })).toContain(`--${flagOf(name)}`);
  });
});

test("a DATA_DIR with a zero character is refused", () => {
  expect(refusal({ DATA_DIR: "a\0b" })).toStartWith("DATA_DIR is");
});

const flagOf = (name: string) => name.toLowerCase().replaceAll("_", "-");

test("every example in a sentence about a bad value is itself taken", () => {
  for (const { name, example, secret } of SETTINGS) {
    if (secret) expect(example).toBe("$(openssl rand -hex 32)");
    else load({ ADMIN_TOKEN: TOKEN, [name]: example });
  }
});

test("a flag wins over the environment, and an empty text is unset", () => {
  expect(load({ PORT: "1" }, { port: "2" }).port).toBe(2);
  expect(load({ PORT: "1" }, { port: "" }).port).toBe(1);
  expect(load({ PORT: "", ADMIN_TOKEN: "", LOG_FORMAT: "  " })).toEqual(load({}));
});

test("all that is wrong is said at once, a line each", () => {
  const lines = refusal({ PORT: "x", DURABILITY: "y", ADMIN_TOKN: "z" }).split("\n");
  expect(lines.map((line) => line.split(" ")[0])).toEqual(["ADMIN_TOKN", "PORT", "DURABILITY"]);
});

describe("tokens", () => {
  test.each(["ADMIN_TOKEN", "METRICS_TOKEN"])("%s is never repeated in what is said about it", (name) => {
    const unusable = fc
      .string({ minLength: 3, maxLength: 60, unit: "binary" })
      .filter((text) => /[^\x21-\x7e]/.test(text) && !"white space character header".includes(text));
    fc.assert(
      fc.property(unusable, (text) => {
        expect(refusal({ [name]: text })).not.toContain(text);
        expect(refusal({}, { [flagOf(name)]: text })).not.toContain(text);
      }),
    );
  });

  test.each([
    ["64 characters", KEY.slice(1)],
    ["64 characters", `${KEY.slice(1)}g`],
    ["64 characters", TOKEN],
    ["key 2 of 2", `${KEY},${TOKEN}`],
    ["key 3 of 3", `${KEY},${OLD_KEY},`],
    ["one key twice", `${KEY},${KEY.toUpperCase()}`],
  ])(
    "an ENCRYPTION_KEY that cannot be one is refused, with the reason (%s), and not repeated",
    (why, text) => {
      for (const detail of [refusal({ ENCRYPTION_KEY: text }), refusal({}, { "encryption-key": text })]) {
        expect(detail).toStartWith("ENCRYPTION_KEY");
        expect(detail).toContain(why);
        expect(detail).toContain("=$(openssl rand -hex 32)");
        for (const part of text.split(",").filter((one) => one !== "")) expect(detail).not.toContain(part);
      }
    },
  );

  test("a short ADMIN_TOKEN is refused and not repeated", () => {
    const detail = refusal({ ADMIN_TOKEN: "hunter2hunter2x" });
    expect(detail).toContain("ADMIN_TOKEN");
    expect(detail).toContain("16 characters");
    expect(detail).not.toContain("hunter2");
    expect(load({ ADMIN_TOKEN: "hunter2hunter2xx" }).adminToken).toBe("hunter2hunter2xx");
  });

  test("blanks are not an unset token: the start stops instead of opening the server", () => {
    expect(refusal({ ADMIN_TOKEN: "   " })).toContain("white space");
    expect(refusal({ ADMIN_TOKEN: `${TOKEN}\n` })).toContain("white space");
  });
});

describe("a server that others can reach", () => {
  const reachable = [
    "0.0.0.0",
    "::",
    "192.168.1.5",
    "example.com",
    "localhost.example.com",
    "::ffff:8.8.8.8",
  ];
  test.each(reachable)("on %s does not start without ADMIN_TOKEN", (host) => {
    const detail = refusal({ HOST: host });
    expect(detail).toContain(`"${host}"`);
    expect(detail).toContain("ADMIN_TOKEN=$(openssl rand -hex 32)");
    expect(openMode(load({ HOST: host, ADMIN_TOKEN: TOKEN }))).toBe(false);
  });

  const loopback = ["127.0.0.1", "127.255.255.254", "::1", "[::1]", "localhost", "::ffff:127.0.0.1"];
  test.each(loopback)("is not one on %s: it starts in open mode", (host) => {
    expect(openMode(load({ HOST: host }))).toBe(true);
    expect(openMode(load({ HOST: host, ADMIN_TOKEN: TOKEN }))).toBe(false);
  });

  test.each(["", "127.1", "0x7f000001", "2130706433", "localhost.", "127.0.0.1.example.com"])(
    "may be one on %p, so that counts as reachable",
    (host) => expect(isLoopback(host)).toBe(false),
  );
});

describe("a misspelt setting", () => {
  test.each([
    ["ADMIN_TOKN", "ADMIN_TOKEN"],
    ["ADMIN_TOKENS", "ADMIN_TOKEN"],
    ["RETRY_SHEDULE", "RETRY_SCHEDULE"],
    ["RETRY_SCHEDUEL", "RETRY_SCHEDULE"],
    ["WEBHOOK_ALLOW_PRIVAT", "WEBHOOK_ALLOW_PRIVATE"],
    ["CORS_ORIGIN", "CORS_ORIGINS"],
    ["DATADIR", "DATA_DIR"],
    ["LOG_LVL", "LOG_LEVEL"],
    ["METRIC_TOKEN", "METRICS_TOKEN"],
    ["DISABLE_WEBHOOKS_DELIVERY", "DISABLE_WEBHOOK_DELIVERY"],
    ["durability", "DURABILITY"],
  ])("%s in the environment stops the start and points to %s", (variable, meant) => {
    const detail = refusal({ [variable]: "1" });
    expect(detail).toStartWith(`${variable} is not a setting`);
    expect(detail).toContain(meant);
    expect(load({ [variable]: "" })).toEqual(load({}));
  });

  test("is not seen in what is usually in an environment", () => {
    const usual = `PATH PWD HOME HOST_IP HOSTNAME HOSTS HOSTTYPE PORTS SPORT USER LOGNAME SHELL TERM LANG LC_ALL TZ TMPDIR
      EDITOR PAGER DISPLAY OLDPWD SHLVL MAIL POSTGRES_PORT REDIS_HOST DB_HOST DB_PORT NODE_ENV CI DEBUG LOG_FILE LOG_DIR
      LOG LOGS LOG_PATH RUST_LOG STATE_DIRECTORY LOGS_DIRECTORY CACHE_DIR BASE_DIR JAVA_HOME JAVA_DIR META_DIR XDG_DATA_DIRS
      XDG_DATA_HOME GITHUB_TOKEN NPM_TOKEN API_TOKEN AUTH_TOKEN ACCESS_TOKEN WEBHOOK_URL WEBHOOK_SECRET KUBERNETES_PORT
      KUBERNETES_SERVICE_HOST HTTP_PROXY NO_PROXY http_proxy SSH_AUTH_SOCK INVOCATION_ID JOURNAL_STREAM FLY_APP_NAME
      host port data log BUN_INSTALL NODE_EXTRA_CA_CERTS CORS DOCKER_HOST COLORTERM NO_COLOR MAX_EVENTS TIMEOUT`;
    const env = Object.fromEntries(usual.split(/\s+/).map((name) => [name, "1"]));
    expect(load(env)).toEqual(load({}));
  });

  test("as a flag is refused, with the one that was meant", () => {
    expect(refusal({}, { "data-dri": "x" })).toBe("--data-dri is not a flag; did you mean --data-dir?");
    expect(refusal({}, { whatever: "x" })).toStartWith("--whatever is not a flag; see --help");
  });
});

test("any text in any setting either gives a whole configuration or a sentence", () => {
  const names = SETTINGS.map((one) => one.name);
  const text = fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom(..."0159.:/,*[]smh-") }));
  fc.assert(
    fc.property(fc.dictionary(fc.constantFrom(...names), text), (env) => {
      const loaded = loadConfig(env, {});
      if (loaded.ok) expect(Object.values(loaded.config)).not.toContain(undefined as never);
      else expect(loaded.detail).toMatch(new RegExp(names.join("|")));
    }),
    { numRuns: 500 },
  );
});

test("the README's table of settings is the one in the code (bun scripts/readme.ts writes it)", () => {
  const readme = readFileSync(path.join(import.meta.dir, "../README.md"), "utf8");
  const [, between] = /<!-- settings -->\n([\s\S]*?)\n<!-- \/settings -->/.exec(readme) ?? [];
  expect(between).toBe(settingsTable());
});
