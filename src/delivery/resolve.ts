// From a URL's host to the addresses that may be connected to. What leaves here was checked by the egress guard, and the
// connection is made to that address itself, so it does not matter what DNS says a moment later.
import type { LookupAddress } from "node:dns";
import { lookup as systemLookup } from "node:dns/promises";
import { isIP } from "node:net";
import { checkAddress, type Egress } from "../webhook/guard.ts";

/** When DNS has not answered by then, the system is asked as well. */
const DNS_PATIENCE_MS = 2000;
/** Whoever still waits for the system's turn after this long goes without. */
const RESOLVE_MS_MAX = 30_000;

/** Resolves a name to all its addresses; to none when there are none or nobody can be asked. */
export type Lookup = (hostname: string, done: (addresses: readonly LookupAddress[]) => void) => void;

export type Resolved =
  | { ok: true; addresses: readonly [string, ...string[]] }
  | { ok: false; kind: "dns_failed" | "blocked_address" };

/** `host` is a name or an address, without brackets. */
export type Resolve = (
  host: string,
  protocol: "http:" | "https:",
  done: (resolved: Resolved) => void,
) => void;

/** Offers only the addresses that the guard lets through. */
export function guardedResolver(egress: Egress, lookup: Lookup = createResolver()): Resolve {
  return (host, protocol, done) => {
    const check = (addresses: readonly string[]) => done(checked(addresses, egress, protocol));
    if (isIP(host) !== 0) check([host]);
    else lookup(host, (found) => check(found.map(({ address }) => address)));
  };
}

function checked(addresses: readonly string[], egress: Egress, protocol: "http:" | "https:"): Resolved {
  if (addresses.length === 0) return { ok: false, kind: "dns_failed" };
  const allowed = addresses.filter((address) => checkAddress(address, egress, protocol));
  const [first, ...rest] = inTurnOfFamily(allowed);
  return first === undefined
    ? { ok: false, kind: "blocked_address" }
    : { ok: true, addresses: [first, ...rest] };
}

/** RFC 8305, section 4: a network without IPv6 costs one address's patience and not that of all of them. */
function inTurnOfFamily(addresses: readonly string[]): string[] {
  const [first = ""] = addresses;
  const same = addresses.filter((address) => isIP(address) === isIP(first));
  const other = addresses.filter((address) => isIP(address) !== isIP(first));
  const pairs = Array.from({ length: Math.max(same.length, other.length) }, (_, i) => [same[i], other[i]]);
  return pairs.flat().filter((address) => address !== undefined);
}

/**
 * Names are asked of DNS itself (Bun's c-ares), and of the system only after that: getaddrinfo blocks a thread of a pool
 * as small as the machine (2 here), which key hashing shares. Measured with a resolver that does not answer: two hung
 * names stopped every other name and every hash for 10 s; by this way the others took 3 ms. The system still has its
 * turn, one name at a time, for what DNS does not know (mDNS, NSS) or when it is silent: c-ares reads resolv.conf once in
 * a process's life, so after a change of network only the system knows whom to ask.
 */
function createResolver(): Lookup {
  const pending = new Map<string, Promise<readonly LookupAddress[]>>();
  let turn: Promise<readonly LookupAddress[]> = Promise.resolve([]);

  function askSystemInTurn(hostname: string, isOver: () => boolean): Promise<readonly LookupAddress[]> {
    turn = turn.then(() => (isOver() ? [] : systemLookup(hostname, { all: true }))).catch(() => []);
    return turn;
  }

  function resolveName(hostname: string): Promise<readonly LookupAddress[]> {
    const { promise, resolve } = Promise.withResolvers<readonly LookupAddress[]>();
    const startedTick = performance.now();
    let isResolved = false;
    let isSystemAsked = false;
    const isOver = () => isResolved || performance.now() - startedTick > RESOLVE_MS_MAX;
    const finish = (addresses: readonly LookupAddress[]) => {
      isResolved = true;
      clearTimeout(patience);
      resolve(addresses);
    };
    const askSystem = () => {
      if (isSystemAsked) return;
      isSystemAsked = true;
      askSystemInTurn(hostname, isOver).then(finish);
    };
    const patience = setTimeout(askSystem, DNS_PATIENCE_MS);
    Promise.try(() => Bun.dns.lookup(hostname)).then(finish, askSystem);
    return promise.finally(() => pending.delete(hostname));
  }

  return (hostname, done) => {
    const asked = pending.get(hostname) ?? resolveName(hostname);
    pending.set(hostname, asked);
    asked.then((addresses) => done(addresses));
  };
}
