// Writes the table of settings into README.md, between its markers. A test fails while it is out of date.
import { join } from "node:path";
import { settingsTable } from "../src/config.ts";

const file = join(import.meta.dir, "../README.md");
const before = await Bun.file(file).text();
const marked = /(<!-- settings -->\n)[\s\S]*?(<!-- \/settings -->)/;
if (!marked.test(before)) throw new Error("README.md has no <!-- settings --> ... <!-- /settings -->");
const after = before.replace(
  marked,
  (_all, open: string, close: string) => `${open}${settingsTable()}\n${close}`,
);
await Bun.write(file, after);
console.log(after === before ? "README.md is up to date" : "README.md written");
