// Pieces of a JSON text as they were written, beside what JSON.parse makes of them: 9007199254740993 and 1.0 do not
// survive a double. Everything here is for text that JSON.parse has accepted: of other text it makes nonsense or throws.

/** The text of a member of an object; the last one when there are two, as in JSON.parse; null when there is none. */
export function memberText(text: string, name: string): string | null {
  let found: string | null = null;
  let at = skipSpace(text, skipSpace(text, 0) + 1);
  while (text[at] === '"') {
    const nameEnd = stringEnd(text, at);
    const valueAt = skipSpace(text, skipSpace(text, nameEnd) + 1);
    const end = valueEnd(text, valueAt);
    if (JSON.parse(text.slice(at, nameEnd)) === name) found = text.slice(valueAt, end);
    at = skipSpace(text, skipSpace(text, end) + 1);
  }
  return found;
}

/** The texts of an array's elements. */
export function elementTexts(text: string): string[] {
  const found: string[] = [];
  let at = skipSpace(text, skipSpace(text, 0) + 1);
  while (at < text.length && text[at] !== "]") {
    const end = Math.max(valueEnd(text, at), at + 1);
    found.push(text.slice(at, end));
    at = skipSpace(text, end);
    if (text[at] === ",") at = skipSpace(text, at + 1);
  }
  return found;
}

function skipSpace(text: string, at: number): number {
  let end = at;
  while (" \t\n\r".includes(text[end] ?? "x")) end++;
  return end;
}

/** Where the value that begins at `at` ends. */
function valueEnd(text: string, at: number): number {
  const first = text[at];
  if (first === '"') return stringEnd(text, at);
  if (first !== "{" && first !== "[") {
    const rest = /[^\s,\]}]*/y;
    rest.lastIndex = at;
    return at + (rest.exec(text)?.[0].length ?? 0);
  }
  const marks = /["{}[\]]/g;
  marks.lastIndex = at;
  let depth = 0;
  for (let mark = marks.exec(text); mark !== null; mark = marks.exec(text)) {
    if (mark[0] === '"') marks.lastIndex = stringEnd(text, mark.index);
    else depth += mark[0] === "{" || mark[0] === "[" ? 1 : -1;
    if (depth === 0) return marks.lastIndex;
  }
  return text.length;
}

function stringEnd(text: string, at: number): number {
  for (let quote = text.indexOf('"', at + 1); quote !== -1; quote = text.indexOf('"', quote + 1)) {
    let backslashes = 0;
    while (text[quote - 1 - backslashes] === "\\") backslashes++;
    if (backslashes % 2 === 0) return quote + 1;
  }
  return text.length;
}
