// Is a guesser at a known key id an attack on everybody? A hash is 20 ms of a core: a thousand guesses a second would be
// twenty cores, if each were hashed.

import { formatApiKey, parseApiKey } from "../src/base/api_key.ts";
import type { Benchmark, Findings } from "./rig/benchmark.ts";
import { besideOthers } from "./rig/beside.ts";
import { getText } from "./rig/requests.ts";
import { send } from "./rig/sender.ts";
import { buildTargets, startProduct } from "./rig/target.ts";

const SECRET_CHARACTERS = 43;
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

const usual = {
  guessesPerSecond: 1_000,
  perSecond: 2_000,
  clients: 64,
  rounds: 5,
  seconds: 10,
  organizations: 50,
};
type ArgonOptions = Readonly<typeof usual>;
const brief: ArgonOptions = {
  guessesPerSecond: 200,
  perSecond: 200,
  clients: 8,
  rounds: 1,
  seconds: 1,
  organizations: 3,
};

export const argon: Benchmark<ArgonOptions> = {
  name: "argon",
  question: "What do 1 000 wrong secrets a second for a known key id cost the p99 of others' ingest?",
  usual,
  brief,
  measure,
};

async function measure(options: ArgonOptions): Promise<Findings> {
  await buildTargets();
  const { guessesPerSecond, organizations } = options;
  const product = await startProduct({ organizations });
  try {
    const { url, keys } = product;
    const keyId = parseApiKey(keys[0] ?? "")?.keyId;
    if (keyId === undefined) throw new Error("no key to guess at");
    return await besideOthers(`${guessesPerSecond} guesses a second`, product, options, async (seconds) => {
      // Each another one: a wrong text that was seen before is known to be wrong.
      const requests = Array.from({ length: guessesPerSecond * seconds }, () =>
        getText("/api/inbox?limit=1", formatApiKey("live", keyId, randomSecret())),
      );
      const rate = { connections: 16, seconds, perSecond: guessesPerSecond };
      return { guesses: await send({ url, ...rate, requests, successes: [401, 429] }) };
    });
  } finally {
    await product.stop();
  }
}

/** Well-formed, and that is all: random enough to be wrong. */
function randomSecret(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(SECRET_CHARACTERS));
  return Array.from(bytes, (byte) => DIGITS[byte % DIGITS.length]).join("");
}
