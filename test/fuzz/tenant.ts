// One of the organizations of a walk, and all that the walk knows of it: its marker, which is in everything that it
// sends, the ids and secrets that it was told, and what must be true of its events in the end.

import type { Answer, TestServer } from "../help/server.ts";

/** What a call may name. Each id that an answer tells lands in one of these. */
export const kinds = ["event", "endpoint", "delivery", "replay", "lease", "key", "cursor", "stream"] as const;
export type Kind = (typeof kinds)[number];

export const ADMIN_TOKEN = "admin-token-of-the-walks-0123456789";
export const asAdmin = { authorization: `Bearer ${ADMIN_TOKEN}` } as const;

const ID = /[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}/g;

export class Tenant {
  readonly marker: string;
  readonly id: string;
  readonly firstKeyId: string;
  /** The key that it calls with; rotation changes it. */
  key: string;
  /** Keys that it has made beside its own, with their texts. */
  readonly otherKeys = new Map<string, string>();
  readonly pools: Record<Kind, string[]>;
  /** Ids that this tenant alone may see. */
  readonly ids = new Set<string>();
  /** Texts that this tenant alone may see: secrets, keys. */
  readonly secrets = new Set<string>();
  /** Events that were accepted, and those of them that it deleted, or may have acknowledged. */
  readonly accepted = new Set<string>();
  readonly deleted = new Set<string>();
  readonly acknowledged = new Set<string>();
  readonly hidden = new Set<string>();
  readonly endpoints = new Set<string>();
  readonly leased = new Map<string, string[]>();

  private constructor(marker: string, { organization_id, key_id, api_key }: Record<string, string>) {
    this.marker = marker;
    this.id = String(organization_id);
    this.firstKeyId = String(key_id);
    this.key = String(api_key);
    this.pools = {
      event: [],
      endpoint: [],
      delivery: [],
      replay: [],
      lease: [],
      key: [],
      cursor: [],
      stream: [],
    };
    this.ids.add(this.id);
    this.secrets.add(this.key).add(this.firstKeyId);
  }

  static async create(server: TestServer): Promise<Tenant> {
    const marker = `m${crypto.randomUUID().replaceAll("-", "")}`;
    const body = { organization_name: `Name of ${marker}`, tier: "enterprise" };
    const made = await server.api().post("/api/keys/generate", body, asAdmin);
    if (made.status !== 201) throw new Error(`no organization: ${made.status} ${made.text}`);
    return new Tenant(marker, made.body);
  }

  /** Notes what an answer to a call of its own told: every id in it is its own from now on. */
  learn(answer: Answer, asked: string): void {
    for (const id of idsIn(answer.text)) if (!asked.includes(id)) this.ids.add(id);
    const { body } = answer;
    for (const name of ["api_key", "signing_secret"])
      if (typeof body?.[name] === "string") this.secrets.add(body[name]);
    if (typeof body?.next_cursor === "string") this.remember("cursor", body.next_cursor);
  }

  remember(kind: Kind, ...ids: readonly string[]): void {
    const pool = this.pools[kind];
    for (const id of ids) if (!pool.includes(id)) pool.push(id);
  }

  /** What of `other` is in an answer that this tenant got; it may hold what was in the question. */
  leaks(other: Tenant, answer: Answer, asked: string): readonly string[] {
    const told = `${answer.text} ${JSON.stringify([...answer.headers])}`;
    const foreign = [other.marker, ...other.secrets, ...idsIn(told).filter((id) => other.ids.has(id))];
    return foreign.filter((text) => told.includes(text) && !asked.includes(text));
  }
}

export function idsIn(text: string): readonly string[] {
  return [...new Set(text.match(ID) ?? [])];
}
