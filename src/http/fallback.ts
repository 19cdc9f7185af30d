// What no route takes: an unknown path (404), a known path with another method (405 with Allow), and OPTIONS, which
// is how a browser asks before it calls (CORS preflight).

import type { Kit } from "./call.ts";
import { preflightHeaders } from "./cors.ts";
import { HttpProblem } from "./problem.ts";

type Route = { readonly method: string; readonly path: string };
type Known = Route & { readonly pattern: RegExp };

/** The handler for everything else. `routes` is asked once, at the first such request. */
export function createFallback(kit: Kit, routes: () => readonly Route[]) {
  let known: readonly Known[] | null = null;
  const methodsAt = (path: string): readonly string[] => {
    known ??= routes().map(({ method, path }) => ({ method, path, pattern: patternOf(path) }));
    // A path that is written out is itself, not one with that word as its id: /api/events/delete takes no GET.
    const itself = known.filter((one) => one.path === path);
    const fitting = itself.length > 0 ? itself : known.filter(({ pattern }) => pattern.test(path));
    const methods = new Set(fitting.map(({ method }) => method));
    if (methods.size > 0) methods.add("OPTIONS");
    if (methods.has("GET")) methods.add("HEAD");
    return [...methods].sort();
  };
  return kit.page((request, corsHeaders) => {
    const methods = methodsAt(new URL(request.url).pathname);
    if (methods.length === 0) throw new HttpProblem("route_not_found");
    const allow = methods.join(", ");
    if (request.method !== "OPTIONS") throw new HttpProblem("method_not_allowed", { headers: { allow } });
    return { status: 204, body: null, headers: { allow, ...preflightHeaders(corsHeaders, allow) } };
  });
}

function patternOf(path: string): RegExp {
  return new RegExp(`^${path.replace(/:[a-z_]+/g, "[^/]+")}$`);
}
