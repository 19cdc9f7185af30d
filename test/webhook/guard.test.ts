import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { checkAddress, checkUrl, type Egress, parseEgress } from "../../src/webhook/guard.ts";

function egressOf(setting: true | readonly string[] | undefined): Egress {
  const parsed = parseEgress(setting);
  if (!parsed.ok) throw new Error(parsed.detail);
  return parsed.egress;
}

function codeOf(url: string, egress: Egress): string {
  const checked = checkUrl(url, egress);
  return checked.ok ? "ok" : checked.code;
}

const CLOSED = egressOf(undefined);
const OPEN = egressOf(true);

/** Special-purpose networks of the IANA registries (RFC 6890), and their borders; none is an address for a webhook. */
const REFUSED_NETWORKS = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/4",
  "240.0.0.0/4",
];

const PUBLIC_ADDRESSES = [
  "1.1.1.1",
  "8.8.8.8",
  "9.255.255.255",
  "11.0.0.0",
  "100.63.255.255",
  "100.128.0.0",
  "126.255.255.255",
  "128.0.0.0",
  "169.253.255.255",
  "172.15.255.255",
  "172.32.0.0",
  "192.167.255.255",
  "192.169.0.0",
  "198.17.255.255",
  "198.20.0.0",
  "223.255.255.255",
  "2606:4700:4700::1111",
  "2001:4860:4860::8888",
  "2a00:1450:4001:81b::200e",
];

const REFUSED_ADDRESSES = [
  "127.0.0.1",
  "169.254.169.254",
  "255.255.255.255",
  "::",
  "::1",
  "::127.0.0.1",
  "::8.8.8.8",
  "::ffff:127.0.0.1",
  "::ffff:7f00:1",
  "::ffff:169.254.169.254",
  "::ffff:0:127.0.0.1",
  "64:ff9b::127.0.0.1",
  "64:ff9b::a9fe:a9fe",
  "64:ff9b::8.8.8.8",
  "64:ff9b:1::a00:1",
  "100::1",
  "2001::1",
  "2001:0:53aa:64c:0:0:80ff:fffe",
  "2001:2::1",
  "2001:20::1",
  "2001:db8::1",
  "2002:7f00:1::",
  "2002:a9fe:a9fe::1",
  "2002:808:808::1",
  "3fff::1",
  "5f00::1",
  "fc00::1",
  "fd12:3456::1",
  "fe80::1",
  "fe80::1%eth0",
  "fe80::1%eth0.7",
  "fec0::1",
  "ff02::1",
  "ff0e::1",
  "4000::1",
];

describe("by default a webhook", () => {
  test.each(PUBLIC_ADDRESSES)("may reach the public address %s", (address) => {
    expect(checkAddress(address, CLOSED)).toBe(true);
  });

  test.each(REFUSED_ADDRESSES)("may not reach %s", (address) => {
    expect(checkAddress(address, CLOSED)).toBe(false);
  });

  test("may reach no address of a special network, written plainly or mapped into IPv6", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...REFUSED_NETWORKS),
        fc.integer({ min: 0, max: 0xffffffff }),
        (network, random) => {
          const address = dotted(within(network, random));
          expect(checkAddress(address, CLOSED)).toBe(false);
          expect(checkAddress(`::ffff:${address}`, CLOSED)).toBe(false);
          expect(codeOf(`https://${address}/`, CLOSED)).toBe("blocked_address");
          expect(codeOf(`https://[::ffff:${address}]/`, CLOSED)).toBe("blocked_address");
        },
      ),
    );
  });

  test("may reach nothing by NAT64, 6to4 or an IPv4-compatible address, whatever they carry", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffffffff }), (random) => {
        const [high, low] = [(random >>> 16).toString(16), (random & 0xffff).toString(16)];
        for (const address of [`64:ff9b::${high}:${low}`, `2002:${high}:${low}::1`, `::${dotted(random)}`]) {
          expect(checkAddress(address, CLOSED)).toBe(false);
        }
      }),
    );
  });

  test.each([
    "",
    " ",
    "example.com",
    "127.1",
    "0177.0.0.1",
    "2130706433",
    "0x7f000001",
    "8.8.8.8 ",
    "8.8.8.8%eth0",
    "[::1]",
    "1.2.3.4/8",
    "8.8.8",
  ])("may not reach %j, which is no address", (text) => {
    expect(checkAddress(text, CLOSED)).toBe(false);
    expect(checkAddress(text, OPEN)).toBe(false);
  });
});

describe("by default a webhook's URL", () => {
  test.each([
    "https://example.com",
    "https://example.com:8443/hook?a=b#c",
    "https://sub.example.com./hook",
    "https://under_score.example.com/",
    "https://8.8.8.8/hook",
    "https://[2606:4700:4700::1111]:443/",
    "https://bücher.example/",
    "HTTPS://EXAMPLE.COM",
    "https://localhost.example.com/",
    "https://notlocalhost/",
  ])("may be %s", (url) => {
    expect(codeOf(url, CLOSED)).toBe("ok");
  });

  test.each([
    ["http://example.com/", "https_required"],
    ["http://8.8.8.8/", "https_required"],
    ["http://127.0.0.1/", "https_required"],
    ["", "invalid_url"],
    ["example.com", "invalid_url"],
    ["/hook", "invalid_url"],
    ["https://", "invalid_url"],
    ["https://a b/", "invalid_url"],
    ["https://example.com:99999/", "invalid_url"],
    ["https://example.com:0/", "invalid_url"],
    ["https://a..b/", "invalid_url"],
    ["https://.example.com/", "invalid_url"],
    ["https://./", "invalid_url"],
    ["https://localhost../", "invalid_url"],
    ["https://[fe80::1%25eth0]/", "invalid_url"],
    ["https://[fe80::1%eth0]/", "invalid_url"],
    ["https://1.2.3.4.5/", "invalid_url"],
    ["ftp://example.com/", "invalid_url"],
    ["file:///etc/passwd", "invalid_url"],
    ["javascript:alert(1)", "invalid_url"],
    ["gopher://127.0.0.1:6379/_", "invalid_url"],
    ["https://user:pass@example.com/", "url_credentials"],
    ["https://user@example.com/", "url_credentials"],
    ["https://:pass@example.com/", "url_credentials"],
    ["https://8.8.8.8@127.0.0.1/", "url_credentials"],
    ["https://127.0.0.1/", "blocked_address"],
    ["https://127.0.0.1./", "blocked_address"],
    ["https://127.1/", "blocked_address"],
    ["https://2130706433/", "blocked_address"],
    ["https://0x7f000001/", "blocked_address"],
    ["https://0x7f.1/", "blocked_address"],
    ["https://017700000001/", "blocked_address"],
    ["https://0177.0.0.01/", "blocked_address"],
    ["https://%31%32%37.0.0.1/", "blocked_address"],
    ["https://１２７.0.0.1/", "blocked_address"],
    ["https://127。0。0。1/", "blocked_address"],
    ["https://0/", "blocked_address"],
    ["https://169.254.169.254/latest/meta-data/", "blocked_address"],
    ["https://[::1]/", "blocked_address"],
    ["https://[::]/", "blocked_address"],
    ["https://[::127.0.0.1]/", "blocked_address"],
    ["https://[::ffff:127.0.0.1]/", "blocked_address"],
    ["https://[0:0:0:0:0:ffff:7f00:1]/", "blocked_address"],
    ["https://[64:ff9b::7f00:1]/", "blocked_address"],
    ["https://[2002:7f00:1::]/", "blocked_address"],
    ["https://[fe80::1]/", "blocked_address"],
    ["https://localhost/", "blocked_address"],
    ["https://LOCALHOST/", "blocked_address"],
    ["https://localhost./", "blocked_address"],
    ["https://lo\u00adcalhost/", "blocked_address"],
    ["https://db.localhost/", "blocked_address"],
    ["https://db.localhost./", "blocked_address"],
  ])("may not be %s: %s", (url, code) => {
    expect(codeOf(url, CLOSED)).toBe(code);
  });

  test("that is refused for its address or scheme is told which setting opens it", () => {
    for (const url of ["https://127.0.0.1/", "https://localhost/", "http://example.com/"]) {
      const checked = checkUrl(url, CLOSED);
      expect(checked.ok ? "" : checked.detail).toContain("WEBHOOK_ALLOW_PRIVATE");
    }
  });

  test("never makes the guard throw, and is never let through to a refused literal address", () => {
    const urls = fc.oneof(
      fc.webUrl(),
      fc.string(),
      fc.ipV4Extended().map((ip) => `https://${ip}/`),
      fc.ipV6().map((ip) => `https://[${ip}]/`),
    );
    fc.assert(
      fc.property(urls, (text) => {
        const checked = checkUrl(text, CLOSED);
        if (!checked.ok) return;
        const host = checked.url.hostname.replace(/^\[|\]$/g, "");
        const isLiteral = host.includes(":") || /^[\d.]+$/.test(host);
        expect(isLiteral ? checkAddress(host, CLOSED) : true).toBe(true);
        expect(checked.url.protocol).toBe("https:");
      }),
      { numRuns: 1000 },
    );
  });
});

describe("with WEBHOOK_ALLOW_PRIVATE=true a webhook", () => {
  test.each([...REFUSED_ADDRESSES, ...PUBLIC_ADDRESSES])("may reach %s", (address) => {
    expect(checkAddress(address, OPEN)).toBe(true);
    expect(checkAddress(address, OPEN, "http:")).toBe(true);
  });

  test.each([
    "http://127.0.0.1:8080/",
    "http://localhost/",
    "http://example.com/",
    "https://[::1]/",
    "http://box.local/",
  ])("may be sent to %s", (url) => {
    expect(codeOf(url, OPEN)).toBe("ok");
  });

  test("may still not carry credentials in its URL or go by another protocol", () => {
    expect(codeOf("http://user:pass@127.0.0.1/", OPEN)).toBe("url_credentials");
    expect(codeOf("ftp://127.0.0.1/", OPEN)).toBe("invalid_url");
  });
});

describe("with a list of networks a webhook", () => {
  const LISTED = egressOf(["10.0.0.0/8", " 192.168.1.7 ", "fd00::/8", "127.0.0.0/8"]);

  test.each([
    ["10.0.0.0", true],
    ["10.255.255.255", true],
    ["::ffff:10.1.2.3", true],
    ["::ffff:a01:203", true],
    ["9.255.255.255", false],
    ["11.0.0.0", false],
    ["192.168.1.7", true],
    ["192.168.1.6", false],
    ["192.168.1.8", false],
    ["fd00::1", true],
    ["fdff:ffff::1", true],
    ["fc00::1", false],
    ["fe80::1", false],
    ["::1", false],
    ["::10.0.0.1", false],
    ["64:ff9b::10.0.0.1", false],
    ["64:ff9b::a00:1", false],
    ["2002:a00:1::1", false],
    ["169.254.169.254", false],
    ["8.8.8.8", false],
  ])("by plain http: %s is reachable: %p", (address, expected) => {
    expect(checkAddress(address, LISTED, "http:")).toBe(expected);
  });

  test.each([
    ["10.1.2.3", true],
    ["8.8.8.8", true],
    ["2606:4700:4700::1111", true],
    ["172.16.0.1", false],
    ["64:ff9b::a00:1", false],
    ["::1", false],
  ])("by https: %s is reachable: %p", (address, expected) => {
    expect(checkAddress(address, LISTED, "https:")).toBe(expected);
  });

  test.each([
    ["http://10.0.0.1:3000/hook", "ok"],
    ["http://[::ffff:10.0.0.1]/", "ok"],
    ["http://0x0a000001/", "ok"],
    ["http://localhost:3000/", "ok"],
    ["http://printer.lan/", "ok"],
    ["https://example.com/", "ok"],
    ["https://8.8.8.8/", "ok"],
    ["http://8.8.8.8/", "https_required"],
    ["http://172.16.0.1/", "blocked_address"],
    ["https://172.16.0.1/", "blocked_address"],
    ["http://[64:ff9b::a00:1]/", "blocked_address"],
    ["http://[2002:a00:1::]/", "blocked_address"],
  ])("to %s: %s", (url, code) => {
    expect(codeOf(url, LISTED)).toBe(code);
  });

  test("may not be sent to localhost when neither of its addresses is listed", () => {
    expect(codeOf("https://localhost/", egressOf(["10.0.0.0/8"]))).toBe("blocked_address");
    expect(codeOf("https://localhost/", egressOf(["::1"]))).toBe("ok");
  });

  test("reaches private addresses in exactly the listed network, for any network and address", () => {
    const networks = fc.tuple(fc.integer({ min: 0, max: 0xffffffff }), fc.integer({ min: 0, max: 32 }));
    fc.assert(
      fc.property(networks, fc.integer({ min: 0, max: 0xffffffff }), ([base, prefixBits], address) => {
        const mask = prefixBits === 0 ? 0 : (0xffffffff << (32 - prefixBits)) >>> 0;
        const egress = egressOf([`${dotted((base & mask) >>> 0)}/${prefixBits}`]);
        const isInside = (address & mask) >>> 0 === (base & mask) >>> 0;
        expect(checkAddress(dotted(address), egress, "http:")).toBe(isInside);
        expect(checkAddress(`::ffff:${dotted(address)}`, egress, "http:")).toBe(isInside);
      }),
    );
  });

  test("passes NAT64 and 6to4 only when they are listed and what they carry is allowed too", () => {
    const egress = egressOf(["64:ff9b::/96", "2002::/16", "10.0.0.0/8"]);
    expect(checkAddress("64:ff9b::8.8.8.8", egress)).toBe(true);
    expect(checkAddress("64:ff9b::10.0.0.1", egress)).toBe(true);
    expect(checkAddress("64:ff9b::127.0.0.1", egress)).toBe(false);
    expect(checkAddress("2002:808:808::1", egress)).toBe(true);
    expect(checkAddress("2002:7f00:1::1", egress)).toBe(false);
    const all = egressOf(["::/0"]);
    expect(checkAddress("fd00::1", all)).toBe(true);
    expect(checkAddress("64:ff9b::127.0.0.1", all)).toBe(false);
    expect(checkAddress("10.0.0.1", all)).toBe(false);
    expect(checkAddress("::ffff:10.0.0.1", all)).toBe(false);
  });

  test("reads a mapped network as the IPv4 network it maps", () => {
    const egress = egressOf(["::ffff:10.0.0.0/104"]);
    expect(checkAddress("10.9.9.9", egress, "http:")).toBe(true);
    expect(checkAddress("11.0.0.0", egress, "http:")).toBe(false);
  });
});

describe("WEBHOOK_ALLOW_PRIVATE", () => {
  test("opens nothing when it is an empty list", () => {
    expect(codeOf("https://127.0.0.1/", egressOf([]))).toBe("blocked_address");
    expect(codeOf("http://example.com/", egressOf([]))).toBe("https_required");
  });

  test.each([
    "",
    "yes",
    "10.0.0.0/",
    "10.0.0.0/33",
    "10.0.0.0/-1",
    "10.0.0.0/8/8",
    "10.0.0.0/255.0.0.0",
    "10.0.0/8",
    "10/8",
    "012.0.0.0/8",
    "10.0.0.1/8",
    "fd00::1/8",
    "fd00::/129",
    "::ffff:10.0.0.0/64",
    "fe80::1%eth0",
    "localhost",
    "*",
  ])("is refused as %j, and the refusal names the setting and the value", (text) => {
    const parsed = parseEgress(["127.0.0.1", text]);
    expect(parsed.ok ? "accepted" : parsed.detail).toContain("WEBHOOK_ALLOW_PRIVATE");
    expect(parsed.ok ? "accepted" : parsed.detail).toContain(`"${text}"`);
  });
});

function dotted(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join(".");
}

/** The address of `network` whose free bits are those of `random`. */
function within(network: string, random: number): number {
  const [base = "", prefix = ""] = network.split("/");
  const freeMask = Number(prefix) === 0 ? 0xffffffff : 0xffffffff >>> Number(prefix);
  const start = base.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
  return (start | (random & freeMask)) >>> 0;
}
