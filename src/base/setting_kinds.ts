// How the text of a setting is read, one function a kind: each gives a reader that never throws and says in
// half a sentence what is wrong. A reader of a secret never puts the text into that half sentence.
import ipaddr from "ipaddr.js";
import { formatDuration, parseDuration, parseDurations, type Read } from "./duration.ts";

export type Reader<T> = (text: string) => Read<T>;

const fail = (detail: string): Read<never> => ({ ok: false, detail });
const done = <T>(value: T): Read<T> => ({ ok: true, value });

/** A whole number in decimal digits, both bounds allowed. */
export function wholeNumber(min: number, max: number): Reader<number> {
  return (text) => {
    const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
    return value >= min && value <= max
      ? done(value)
      : fail(`it must be a whole number from ${min} to ${max}`);
  };
}

/** One of the given words, in any case. */
export function oneOf<const T extends string>(...words: readonly T[]): Reader<T> {
  return (text) => {
    const word = words.find((candidate) => candidate === text.toLowerCase());
    return word === undefined ? fail(`it must be one of ${words.join(", ")}`) : done(word);
  };
}

/** `true` or `false`, also written `1` or `0`. */
export function yesOrNo(text: string): Read<boolean> {
  const word = text.toLowerCase();
  if (word === "true" || word === "1") return done(true);
  if (word === "false" || word === "0") return done(false);
  return fail("it must be true or false");
}

/** One duration in milliseconds, both bounds allowed. */
export function duration(minMs: number, maxMs: number): Reader<number> {
  return (text) => {
    const read = parseDuration(text);
    return read.ok ? within(read.value, minMs, maxMs) : read;
  };
}

/** Durations in milliseconds separated by commas, each within the bounds, at most `entriesMax` of them. */
export function durations(minMs: number, maxMs: number, entriesMax: number): Reader<readonly number[]> {
  return (text) => {
    const read = parseDurations(text);
    if (!read.ok) return read;
    if (read.value.length > entriesMax) return fail(`it has more than ${entriesMax} entries`);
    for (const ms of read.value) {
      const one = within(ms, minMs, maxMs);
      if (!one.ok) return one;
    }
    return read;
  };
}

/** A path of the file system. It may not exist yet: looking is not this floor's business. */
export function path(text: string): Read<string> {
  if (text.includes("\0")) return fail("it has a zero character");
  if (text.startsWith("~")) return fail("a shell would expand ~, this does not; write the whole path");
  return done(text);
}

/** An IP address (IPv6 with or without brackets) or a host name, without a port. */
export function host(text: string): Read<string> {
  const bare = /^\[.*\]$/.test(text) ? text.slice(1, -1) : text;
  if (address(bare)) return done(bare);
  if (/^[\d.]+$/.test(bare) || bare.includes(":"))
    return fail("it must be an IP address or a host name, without a port");
  const label = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?";
  if (bare.length > 253 || !new RegExp(`^${label}(\\.${label})*$`).test(bare))
    return fail("it must be an IP address or a host name");
  return done(bare.toLowerCase());
}

/** Whether only this machine can reach a server bound to `host`: 127.0.0.0/8, ::1 and `localhost`. */
export function isLoopback(host: string): boolean {
  if (host.toLowerCase() === "localhost") return true;
  const parsed = address(host);
  if (!parsed) return false;
  // ::ffff:127.0.0.1 is IPv4 loopback written as IPv6.
  return ipaddr.process(parsed.toString()).range() === "loopback";
}

/** A bearer token. The text is not repeated in what is said about it, nor trimmed: white space is an error. */
export function token(charactersMin: number): Reader<string> {
  return (text) => {
    // Visible ASCII: wider than the b64token of RFC 6750, and all that survives a header unchanged.
    if (!/^[\x21-\x7e]+$/.test(text))
      return fail("it has white space or a character that an HTTP header cannot carry");
    if (text.length < charactersMin) return fail(`it must have at least ${charactersMin} characters`);
    return done(text);
  };
}

/**
 * Keys of 32 bytes in hexadecimal, separated by commas; given back in lower case. The text is not repeated in what is
 * said about it.
 */
export function secretKeys(text: string): Read<readonly string[]> {
  const keys = text.split(",").map((key) => key.trim().toLowerCase());
  const wrong = keys.findIndex((key) => !/^[0-9a-f]{64}$/.test(key));
  if (wrong !== -1) {
    const which = keys.length === 1 ? "it" : `key ${wrong + 1} of ${keys.length}`;
    return fail(`${which} is not 32 bytes in hexadecimal (64 characters of 0-9 a-f)`);
  }
  return new Set(keys).size === keys.length ? done(keys) : fail("it names one key twice");
}

/** Web origins separated by commas, or `*` alone. Given back as browsers send them: lower case, no default port. */
export function origins(text: string): Read<readonly string[]> {
  const parts = text.split(",").map((part) => part.trim());
  if (parts.length === 1 && parts[0] === "*") return done(["*"]);
  const found = new Set<string>();
  for (const part of parts) {
    if (part === "*") return fail("* stands alone or not at all");
    const url = URL.canParse(part) ? new URL(part) : null;
    if (!url || !/^https?:\/\//i.test(part))
      return fail(`"${part}" is not an origin like https://app.example.com`);
    if (url.hostname.includes("*"))
      return fail(`"${part}" has a wildcard, which no browser sends as its origin`);
    if (`${url.origin}/` !== url.href) return fail(`"${part}" has more than scheme, host and port`);
    found.add(url.origin);
  }
  return done([...found]);
}

/** `true`, `false`, or address ranges (`10.0.0.0/8,fd00::/8`) separated by commas; a lone address is its own range. */
export function networks(text: string): Read<boolean | readonly string[]> {
  const flag = yesOrNo(text);
  if (flag.ok) return flag;
  const ranges: string[] = [];
  for (const part of text.split(",").map((piece) => piece.trim())) {
    const range = addressRange(part);
    if (!range) return fail(`"${part}" is neither true, false, an address nor a range`);
    ranges.push(range);
  }
  return done(ranges);
}

function addressRange(text: string): string | null {
  const [base = "", bits, ...rest] = text.split("/");
  const parsed = address(base);
  if (!parsed || rest.length > 0 || /%/.test(base)) return null;
  const bitsMax = parsed.kind() === "ipv4" ? 32 : 128;
  if (bits === undefined) return `${base}/${bitsMax}`;
  return /^\d{1,3}$/.test(bits) && Number(bits) <= bitsMax ? `${base}/${Number(bits)}` : null;
}

/** Four decimal parts or IPv6. ipaddr.js alone would also take 0177.0.0.1 and 127.1, which systems read differently. */
function address(text: string) {
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) return ipaddr.IPv4.parse(text);
  return ipaddr.IPv6.isValid(text) && text.includes(":") ? ipaddr.IPv6.parse(text) : null;
}

function within(ms: number, minMs: number, maxMs: number): Read<number> {
  if (ms >= minMs && ms <= maxMs) return done(ms);
  const bounds = `from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`;
  return fail(`${formatDuration(ms)} is out of bounds: it must be ${bounds}`);
}
