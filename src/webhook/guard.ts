// Where webhooks may go (SSRF guard). By default only https, and only to global unicast addresses: what is not known to
// be public is refused, so a range that ipaddr.js has not heard of is refused too. The sender asks about names again
// when it has resolved them; here a name passes. WEBHOOK_ALLOW_PRIVATE opens everything, or exactly the networks listed.
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";

type Address = ipaddr.IPv4 | ipaddr.IPv6;
type Cidr = readonly [network: Address, prefixBits: number];
type Protocol = "http:" | "https:";

export interface Egress {
  /** Everything is allowed: WEBHOOK_ALLOW_PRIVATE=true. */
  allowPrivate: boolean;
  /** Allowed besides public addresses; the only ones that plain http may reach. */
  allowed: readonly Cidr[];
}

export type ParsedEgress = { ok: true; egress: Egress } | { ok: false; detail: string };
export type RefusalCode = "invalid_url" | "https_required" | "url_credentials" | "blocked_address";
export type CheckedUrl = { ok: true; url: URL } | { ok: false; code: RefusalCode; detail: string };

const SETTING = "WEBHOOK_ALLOW_PRIVATE";
const IPV4_MAPPED_BITS = 96;
const GLOBAL_UNICAST_V6: Cidr = [ipaddr.IPv6.parse("2000::"), 3];
/**
 * NAT64 and 6to4 carry an IPv4 address. Both are refused, and where a listed network covers one, the IPv4 address within
 * must be allowed besides. A network whose DNS64 hands out 64:ff9b:: addresses has to list 64:ff9b::/96.
 */
const NAT64: Cidr = [ipaddr.IPv6.parse("64:ff9b::"), 96];
const SIX_TO_FOUR: Cidr = [ipaddr.IPv6.parse("2002::"), 16];
const LOOPBACKS = ["127.0.0.1", "::1"];

/** Labels of a name, the last dot of a full one included. "a..b" and ".." resolve to whatever a resolver makes of them. */
const HOST_NAME = /^[^.]+(\.[^.]+)*\.?$/;

/**
 * The guard for a setting: undefined (public addresses by https), true (anything), or networks such as `10.0.0.0/8`,
 * `fd00::/8`, or one address. A network with bits set beyond its prefix (10.1.2.3/8) is refused: it may mean two things.
 */
export function parseEgress(setting: true | readonly string[] | undefined): ParsedEgress {
  if (setting === true) return { ok: true, egress: { allowPrivate: true, allowed: [] } };
  const allowed: Cidr[] = [];
  for (const text of setting ?? []) {
    const cidr = parseCidr(text.trim());
    if (typeof cidr === "string") return { ok: false, detail: `${SETTING}: ${cidr}` };
    allowed.push(cidr);
  }
  return { ok: true, egress: { allowPrivate: false, allowed } };
}

/** The guard for a setting that was checked when the configuration was loaded; throws on any other. */
export function egressOf(setting: boolean | readonly string[]): Egress {
  const parsed = parseEgress(setting === false ? undefined : setting);
  if (!parsed.ok) throw new Error(parsed.detail);
  return parsed.egress;
}

/** Whether a webhook URL may be stored and tried: its scheme, its credentials, its host as far as that is known now. */
export function checkUrl(url: string, egress: Egress): CheckedUrl {
  const parsed = URL.parse(url);
  if (parsed === null) return refusal("invalid_url", "This is not a valid URL.");
  if (parsed.protocol !== "https:" && parsed.protocol !== "http:") {
    return refusal("invalid_url", "A webhook URL starts with https://.");
  }
  if (parsed.username !== "" || parsed.password !== "") {
    return refusal(
      "url_credentials",
      "A webhook URL carries no user name or password; use a header of the endpoint.",
    );
  }
  if (!HOST_NAME.test(parsed.hostname) || parsed.port === "0") {
    return refusal("invalid_url", "The URL's host or port cannot be reached.");
  }
  return checkHost(parsed, parsed.protocol, egress);
}

/**
 * Whether a resolved or literal address (no brackets) may be connected to. Plain http reaches listed networks only, so
 * ask with the protocol of the URL. False for what is no IP address.
 */
export function checkAddress(address: string, egress: Egress, protocol: Protocol = "https:"): boolean {
  if (egress.allowPrivate) return isIP(address) !== 0;
  const parsed = parseAddress(address);
  if (parsed === null) return false;
  if (isListed(parsed, egress)) return true;
  return protocol === "https:" && isPublic(parsed);
}

/** What to tell about a refused host. It does not repeat the address a name led to: that is the operator's to know. */
export function blockedDetail(host: string, protocol: Protocol): string {
  const rule =
    protocol === "https:"
      ? `${host} leads to a private, loopback, link-local, multicast or reserved address.`
      : `${host} leads to an address that plain http may not reach.`;
  return `${rule} The operator can open its network with ${SETTING}.`;
}

function checkHost(url: URL, protocol: Protocol, egress: Egress): CheckedUrl {
  if (protocol === "http:" && !egress.allowPrivate && egress.allowed.length === 0) {
    return refusal(
      "https_required",
      `A webhook URL starts with https://. The operator can allow http with ${SETTING}.`,
    );
  }
  const candidates = knownAddresses(url.hostname);
  if (candidates === null || candidates.some((address) => checkAddress(address, egress, protocol))) {
    return { ok: true, url };
  }
  const opensByHttps = candidates.some((address) => checkAddress(address, egress, "https:"));
  return refusal(opensByHttps ? "https_required" : "blocked_address", blockedDetail(url.hostname, protocol));
}

/** The addresses a URL's host stands for without asking anybody; null for a name. The URL parser has already turned
 * decimal, hexadecimal, octal, percent-encoded and full-width forms into plain ones, and refused zone ids. */
function knownAddresses(hostname: string): readonly string[] | null {
  const host = hostname.startsWith("[") ? hostname.slice(1, -1) : hostname;
  if (isIP(host) !== 0) return [host];
  // RFC 6761: localhost and what is below it never leave the machine.
  return /(^|\.)localhost\.?$/.test(host) ? LOOPBACKS : null;
}

function refusal(code: RefusalCode, detail: string): CheckedUrl {
  return { ok: false, code, detail };
}

function isPublic(address: Address): boolean {
  if (address.range() !== "unicast") return false;
  return address.kind() === "ipv4" || inCidr(address, GLOBAL_UNICAST_V6);
}

function isListed(address: Address, egress: Egress): boolean {
  if (!egress.allowed.some((cidr) => inCidr(address, cidr))) return false;
  const within = embeddedIpv4(address);
  return within === null || isPublic(within) || isListed(within, egress);
}

function embeddedIpv4(address: Address): ipaddr.IPv4 | null {
  const bytes = address.toByteArray();
  if (inCidr(address, NAT64)) return new ipaddr.IPv4(bytes.slice(12, 16));
  if (inCidr(address, SIX_TO_FOUR)) return new ipaddr.IPv4(bytes.slice(2, 6));
  return null;
}

function inCidr(address: Address, [network, prefixBits]: Cidr): boolean {
  return address.kind() === network.kind() && address.match(network, prefixBits);
}

/**
 * An IPv4-mapped address (::ffff:10.0.0.1) becomes the IPv4 address it reaches.
 * isIP first: ipaddr.js also reads 0177.1 and 1. The zone of fe80::1%eth0 says by which wire, not where, and ipaddr.js
 * knows only some spellings. And ipaddr.js takes ::1.2.3.4 (unroutable, RFC 4291) for the mapped ::ffff:1.2.3.4, which it
 * is not, so an IPv6 address goes through the URL parser, which writes it in hexadecimal.
 */
function parseAddress(text: string): Address | null {
  const version = isIP(text);
  if (version === 0) return null;
  if (version === 4) return ipaddr.IPv4.parse(text);
  const hex = URL.parse(`http://[${text.replace(/%.*$/s, "")}]`)?.hostname.slice(1, -1);
  return hex === undefined ? null : ipaddr.process(hex);
}

/** A network, or the sentence that says what is wrong with it. */
function parseCidr(text: string): Cidr | string {
  const [addressText = "", prefixText, ...rest] = text.split("/");
  const isV6 = isIP(addressText) === 6;
  const address = parseAddress(addressText);
  if (
    address === null ||
    rest.length > 0 ||
    addressText.includes("%") ||
    !/^\d{1,3}$/.test(prefixText ?? "0")
  ) {
    return `"${text}" is not a network such as 10.0.0.0/8 or fd00::/8.`;
  }
  const maxBits = isV6 ? 128 : 32;
  // A mapped network is the IPv4 network it maps: ::ffff:10.0.0.0/104 is 10.0.0.0/8.
  const mappedBits = isV6 && address.kind() === "ipv4" ? IPV4_MAPPED_BITS : 0;
  const writtenBits = prefixText === undefined ? maxBits : Number(prefixText);
  if (writtenBits > maxBits || writtenBits < mappedBits) return `"${text}" has an impossible prefix length.`;
  const prefixBits = writtenBits - mappedBits;
  if (!isNetworkAddress(address, prefixBits)) {
    return `"${text}" has bits set beyond its prefix: name the network's first address, or one address alone.`;
  }
  return [address, prefixBits];
}

function isNetworkAddress(address: Address, prefixBits: number): boolean {
  return address.toByteArray().every((byte, index) => {
    const keptBits = Math.min(8, Math.max(0, prefixBits - index * 8));
    return (byte & (0xff >> keptBits)) === 0;
  });
}
