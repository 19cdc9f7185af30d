// For `bunx drizzle-kit generate --config db/drizzle.config.ts`: it drafts the next step from the change of
// schema.ts; a person then adds STRICT, WITHOUT ROWID and partial indexes, renames it, and lists it in migrate.ts.
import { defineConfig } from "drizzle-kit";

export default defineConfig({ dialect: "sqlite", schema: "./src/store/sqlite/schema.ts", out: "./db/draft" });
