// Who asks for a change, as the audit record tells it.

import { openMode } from "../config.ts";
import type { Actor } from "../store/store.ts";
import type { Principal } from "./auth.ts";
import type { Kit } from "./call.ts";
import type { Deps } from "./deps.ts";

type Asked = {
  readonly request: Request;
  readonly requestId: string;
  readonly principal: Principal | null;
};

/** The key that calls, or the operator. */
export function actorOf(kit: Kit, { config }: Pick<Deps, "config">, asked: Asked): Actor {
  const { request, requestId, principal } = asked;
  const rest = { address: kit.addressOf(request), requestId };
  if (principal !== null) return { kind: "key", keyId: principal.keyId, ...rest };
  return { kind: openMode(config) ? "open_mode" : "admin", keyId: null, ...rest };
}
