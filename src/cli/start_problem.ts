// Why the server or the database could not be opened, in the words of the setting that changes it.
import type { Config } from "../config.ts";

/** One sentence for whatever `startServer` or an offline command threw. */
export function startProblem(error: unknown, config: Config): string {
  if (!(error instanceof Error)) return String(error);
  const { code, syscall } = error as Error & { readonly code?: unknown; readonly syscall?: unknown };
  if (syscall === "listen") return listenProblem(code, config);
  const isOfFiles = typeof syscall === "string" || String(code).startsWith("SQLITE_");
  return isOfFiles ? `DATA_DIR ${config.dataDir} cannot be used: ${error.message}.` : error.message;
}

function listenProblem(code: unknown, { host, port }: Config): string {
  if (code === "EADDRINUSE")
    return `${host}:${port} is taken by another program. Stop it, or choose another port with PORT.`;
  if (code === "EACCES")
    return `this user may not listen on port ${port}: choose one from 1024 on with PORT.`;
  return `HOST ${host} is no address of this machine, or none that it can listen on (${code}).`;
}
