// Whether a server runs on a data directory. It writes server.json there while it runs; a file left by a crash
// names a process that is gone, or a number that another program has by now, so a caller must also be ready for
// nobody to answer at the address.
import { join } from "node:path";
import { isAlive } from "../base/process_alive.ts";

/** The address of the server on `dataDir`, without a slash at its end, or null when none runs. */
export async function runningServer(dataDir: string): Promise<string | null> {
  const file = Bun.file(join(dataDir, "server.json"));
  if (!(await file.exists())) return null;
  const said = parse(await file.text());
  return said && isAlive(said.pid) ? said.url.replace(/\/+$/, "") : null;
}

function parse(text: string): { pid: number; url: string } | null {
  try {
    const said: unknown = JSON.parse(text);
    if (typeof said !== "object" || said === null || !("pid" in said) || !("url" in said)) return null;
    const { pid, url } = said;
    const usable = typeof pid === "number" && pid > 0 && typeof url === "string" && /^https?:\/\//.test(url);
    return usable ? { pid, url } : null;
  } catch {
    return null;
  }
}
