// Very many connections, of which each does little. In this process: what they do is too little to disturb it.

import { AnswerReader } from "./answer_reader.ts";
import { Latencies, type Spread } from "./numbers.ts";
import { UNIQUE } from "./sender.ts";

/** So many connect at once: a listener's backlog is 512. */
const AT_ONCE = 250;

type Member = { socket: Bun.Socket; sinceMs: number; answered: () => void };

export class Crowd {
  readonly #url: URL;
  readonly #members = new Set<Member>();
  readonly #seed = crypto.randomUUID().slice(0, 8);
  #latencies = new Latencies();
  #closing = false;
  #sent = 0;
  /** Connections that the server ended, or that failed. */
  broken = 0;
  readonly statuses: Record<string, number> = {};

  constructor(url: string) {
    this.#url = new URL(url);
  }

  /** Connections that are open. */
  get size(): number {
    return this.#members.size;
  }

  async open(count: number): Promise<void> {
    for (let left = count; left > 0; left -= AT_ONCE)
      await Promise.all(Array.from({ length: Math.min(left, AT_ONCE) }, () => this.#connect()));
  }

  /** The same request on each; resolves when all are answered. */
  async askAll(text: string): Promise<void> {
    await Promise.all([...this.#members].map((member) => this.#ask(member, text)));
  }

  /** One connection after the other sends a request, so many a second over all; resolves when all are answered. */
  async sendInTurn(texts: readonly string[], perSecond: number, seconds: number): Promise<Spread> {
    this.#latencies = new Latencies();
    const members = [...this.#members];
    const asked: Promise<void>[] = [];
    const startMs = performance.now();
    for (let n = 0; n < perSecond * seconds; n++) {
      const dueMs = startMs + (n * 1_000) / perSecond;
      if (dueMs > performance.now()) await Bun.sleep(Math.max(1, dueMs - performance.now()));
      const member = members[n % members.length];
      if (member && this.#members.has(member)) asked.push(this.#ask(member, texts[n % texts.length] ?? ""));
    }
    await Promise.all(asked);
    return this.#latencies.spread();
  }

  close(): void {
    this.#closing = true;
    for (const { socket } of this.#members) socket.end();
    this.#members.clear();
  }

  #ask(member: Member, text: string): Promise<void> {
    const unique = `${this.#seed}-${this.#sent++}`.padEnd(UNIQUE.length, "-");
    return new Promise((resolve) => {
      member.answered = resolve;
      member.sinceMs = performance.now();
      member.socket.write(text.replaceAll(UNIQUE, unique));
    });
  }

  async #connect(): Promise<void> {
    let member: Member | null = null;
    const reader = new AnswerReader((status) => {
      this.statuses[status] = (this.statuses[status] ?? 0) + 1;
      if (member !== null) this.#latencies.add(performance.now() - member.sinceMs);
      member?.answered();
    });
    const socket = await Bun.connect({
      hostname: this.#url.hostname,
      port: Number(this.#url.port),
      socket: {
        data: (_, bytes) => reader.read(bytes),
        close: () => {
          if (member === null || this.#closing) return;
          this.#members.delete(member);
          this.broken++;
          member.answered();
        },
        error: () => {},
      },
    });
    member = { socket, sinceMs: 0, answered: () => {} };
    this.#members.add(member);
  }
}
