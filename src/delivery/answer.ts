// Reads an answer, byte by byte as far as the result goes: where the network cut it makes no difference. HTTP/1.1 and 1.0
// as in RFC 9112, and strict: whatever two readers could take for two things is malformed. Of the answer it keeps what a
// verdict needs. A body is taken as it comes, whatever its encoding says, and no more of it than 64 KB.

const ANSWER_BYTES_MAX = 64 * 1024;
const EXCERPT_BYTES_MAX = 1024;
/**
 * Of an answer with its headers and framing. Empty lines before an answer, and zeros before a chunk's size, have no end of
 * their own: a receiver that sent nothing else took the thread's whole time, 1 GB a second, until the deadline.
 */
const RAW_BYTES_MAX = 2 * ANSWER_BYTES_MAX;
/** Of a status line with its headers, of a chunk's extension, of a trailer. */
const HEAD_BYTES_MAX = 64 * 1024;
/** 100 Continue, 103 Early Hints and such before the answer. */
const INTERIM_ANSWERS_MAX = 100;
/** Of a body or a chunk: 64 bits. That a double rounds what is longer than 53 of them is no matter: it is not read. */
const LENGTH_LIMIT = 2 ** 64;

// No control characters but the tab, and CR LF at the end and nowhere else.
const LINE = /[\t\x20-\x7e\x80-\xff]*\r\n/y;
const LINE_START = /^[\t\x20-\x7e\x80-\xff]*\r?$/;
const STATUS_LINE = /^HTTP\/1\.[01] \d{3}(?: |$)/;
const STATUS_LINE_START = "HTTP/1.";
const HEADER_NAME = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+:/y;
const CHUNK_EXTENSION = /^[\t ]*(?:;|$)/;
const CHUNKED = /(?:^|,)[\t ]*chunked$/i;

/** What the next byte belongs to. */
type Open =
  | "status"
  | "header"
  | "size"
  | "extension"
  | "chunk"
  | "chunk_end"
  | "trailer"
  | "length"
  | "rest";
/** What was read to its end; enough was read; an error in the head, or in the body. */
type Over = "whole" | "enough" | "malformed" | "broken";

export class Answer {
  /** Of the answer whose head is whole; interim ones do not count. */
  status: number | null = null;
  /** The header as it came. */
  retryAfter: string | null = null;
  /** A sentence, when it is malformed for a reason of its own. */
  fault: string | null = null;
  rawBytes = 0;
  #part: Open | Over = "status";
  /** Of a line whose end has not come. */
  #lineStart = "";
  #headBytes = 0;
  #interimAnswers = 0;
  #statusLine = "";
  #length: number | null = null;
  #codings: string | null = null;
  #connection = "";
  /** Of the chunk, or of the body that said its length. */
  #left = 0;
  #hasSize = false;
  #bodyBytes = 0;
  #excerpt: Uint8Array[] = [];
  #endsConnection = false;

  /** Null while more is wanted. */
  get over(): Over | null {
    const part = this.#part;
    return part === "whole" || part === "enough" || part === "malformed" || part === "broken" ? part : null;
  }

  /** Takes what came. */
  read(bytes: Buffer): void {
    const end = Math.min(bytes.length, RAW_BYTES_MAX - this.rawBytes);
    this.rawBytes += bytes.length;
    // One character a byte. Asked of the bytes line by line, the same takes twice the time.
    const text = bytes.toString("latin1", 0, end);
    let at = 0;
    while (at < end && this.over === null) at = this.#step(bytes, text, at);
    if (at < bytes.length) this.#endsConnection = true;
    if (this.rawBytes > RAW_BYTES_MAX && this.over === null) this.#part = this.#exceeded();
  }

  /** The other side sends no more: for a body without a length that is its end. */
  end(): void {
    if (this.#part === "rest") this.#part = "whole";
  }

  /** Whether another request may follow on its connection. */
  get keepsConnection(): boolean {
    if (this.#part !== "whole" || this.#endsConnection) return false;
    if (!this.#isHttp10) return !hasWord(this.#connection, "close");
    return this.#codings === null && hasWord(this.#connection, "keep-alive"); // 1.0 knows no chunks (RFC 9112, 6.1)
  }

  /** The body's first 1 KB. Invalid UTF-8 becomes U+FFFD; a character that the cut broke is left out (`stream` withholds it). */
  excerpt(): string {
    const [first, ...rest] = this.#excerpt;
    if (first === undefined) return "";
    const bytes = rest.length === 0 ? first : Buffer.concat(this.#excerpt);
    if (this.#bodyBytes <= EXCERPT_BYTES_MAX) return LOSSY.decode(bytes);
    return new TextDecoder().decode(bytes, { stream: true });
  }

  get #isHttp10(): boolean {
    return this.#statusLine.startsWith("HTTP/1.0");
  }

  #exceeded(): Over {
    if (this.status !== null) return "enough";
    return this.#malformed(`No answer was in the first ${RAW_BYTES_MAX / 1024} KB.`);
  }

  #malformed(fault: string | null = null): Over {
    this.fault = fault;
    return this.status === null ? "malformed" : "broken";
  }

  /** Takes some of the bytes from `at` on, and says where the next ones begin. */
  #step(bytes: Buffer, text: string, at: number): number {
    switch (this.#part) {
      case "size":
        return this.#takeSize(text, at);
      case "chunk":
      case "length":
      case "rest":
        return this.#takeBody(bytes, at, text.length);
      default:
        return this.#takeLine(text, at);
    }
  }

  #takeLine(text: string, at: number): number {
    LINE.lastIndex = at;
    if (this.#lineStart !== "" || !LINE.test(text)) return this.#takePartOfLine(text, at);
    const end = LINE.lastIndex;
    this.#headBytes += end - at;
    this.#part = this.#headBytes > HEAD_BYTES_MAX ? this.#malformed() : this.#line(text.slice(at, end - 2));
    return end;
  }

  /** A line that comes in parts, or is none. */
  #takePartOfLine(text: string, at: number): number {
    const lineEnd = text.indexOf("\n", at) + 1;
    const end = lineEnd === 0 ? text.length : lineEnd;
    const part = text.slice(at, end);
    const line = this.#lineStart + part;
    this.#headBytes += part.length;
    if (this.#headBytes > HEAD_BYTES_MAX) this.#part = this.#malformed();
    else if (lineEnd === 0) this.#part = this.#checkStart(line, part);
    else this.#part = this.#checkEnd(line);
    this.#lineStart = lineEnd === 0 ? line : "";
    return end;
  }

  /** Who speaks another protocol may never end a line: the beginning of one has to do. */
  #checkStart(line: string, part: string): Open | Over {
    const isText = LINE_START.test(part) && !this.#lineStart.endsWith("\r");
    const known = this.#part === "status" ? STATUS_LINE_START.slice(0, line.length) : "";
    const isPossible = line === "\r" || (this.#part !== "chunk_end" && line.startsWith(known));
    return isText && isPossible ? (this.#part as Open) : this.#malformed();
  }

  #checkEnd(line: string): Open | Over {
    LINE.lastIndex = 0;
    return LINE.test(line) ? this.#line(line.slice(0, -2)) : this.#malformed();
  }

  /** What comes after this line. */
  #line(line: string): Open | Over {
    switch (this.#part) {
      case "status":
        return this.#beginHead(line);
      case "header":
        return line === "" ? this.#endHead() : this.#header(line);
      case "trailer":
        if (line === "") return "whole";
        return nameLength(line) > 0 ? "trailer" : this.#malformed();
      case "extension":
        return CHUNK_EXTENSION.test(line) ? this.#beginChunk() : this.#malformed();
      default:
        return line === "" ? this.#beginSize() : this.#malformed();
    }
  }

  #beginHead(line: string): Open | Over {
    if (line === "") {
      this.#headBytes = 0; // as many as raw bytes may come before it (RFC 9112, 2.2)
      return "status";
    }
    this.#statusLine = line;
    return STATUS_LINE.test(line) ? "header" : this.#malformed();
  }

  #header(line: string): Open | Over {
    const length = nameLength(line);
    if (length === 0) return this.#malformed();
    const name = namedHeader(line, length);
    if (name === null) return "header";
    const value = trimmed(line, length + 1);
    if (name === "content-length") return this.#contentLength(value);
    if (name === "transfer-encoding") this.#codings = joined(this.#codings, value);
    else if (name === "connection") this.#connection = joined(this.#connection, value);
    else this.retryAfter ??= value;
    return "header";
  }

  #contentLength(value: string): Open | Over {
    const length = Number(value);
    if (this.#length !== null || !/^\d+$/.test(value) || length >= LENGTH_LIMIT) return this.#malformed();
    this.#length = length;
    return "header";
  }

  #endHead(): Open | Over {
    const status = Number(this.#statusLine.slice(9, 12));
    if (status === 101) return this.#malformed("The endpoint switched protocols instead of answering.");
    if (this.#length !== null && this.#codings !== null) return this.#malformed();
    if (status >= 100 && status <= 199) return this.#endInterim();
    this.status = status;
    return status === 204 || status === 304 ? "whole" : this.#beginBody();
  }

  #endInterim(): Open | Over {
    this.#interimAnswers++;
    if (this.#interimAnswers > INTERIM_ANSWERS_MAX) {
      return this.#malformed(`More than ${INTERIM_ANSWERS_MAX} interim answers (1xx) came.`);
    }
    this.#headBytes = 0;
    this.#length = null;
    this.#codings = null;
    this.#connection = "";
    this.retryAfter = null;
    return "status";
  }

  /** RFC 9112, 6.3. */
  #beginBody(): Open | Over {
    if (this.#codings !== null && CHUNKED.test(this.#codings)) return this.#beginSize();
    this.#left = this.#length ?? 0;
    if (this.#length !== null) return this.#length === 0 ? "whole" : "length";
    this.#endsConnection = true;
    return "rest";
  }

  #beginSize(): Open {
    this.#headBytes = 0;
    this.#left = 0;
    this.#hasSize = false;
    return "size";
  }

  #beginChunk(): Open {
    this.#headBytes = 0;
    return this.#left === 0 ? "trailer" : "chunk";
  }

  /** The digits of a chunk's size; what comes after them is a line like others. */
  #takeSize(text: string, from: number): number {
    for (let at = from; at < text.length; at++) {
      const digit = hexDigit(text.charCodeAt(at));
      if (digit === -1) {
        this.#part = this.#hasSize ? "extension" : this.#malformed();
        return at;
      }
      this.#hasSize = true;
      this.#left = this.#left * 16 + digit;
      if (this.#left > LENGTH_LIMIT) {
        this.#part = this.#malformed();
        return at;
      }
    }
    return text.length;
  }

  #takeBody(bytes: Buffer, at: number, taken: number): number {
    const end = this.#part === "rest" ? taken : Math.min(taken, at + this.#left);
    this.#keep(bytes, at, end);
    this.#left -= end - at;
    if (this.#bodyBytes > ANSWER_BYTES_MAX) this.#part = "enough";
    else if (this.#left === 0 && this.#part !== "rest") {
      this.#part = this.#part === "chunk" ? "chunk_end" : "whole";
    }
    return end;
  }

  #keep(bytes: Buffer, at: number, end: number): void {
    const room = EXCERPT_BYTES_MAX - this.#bodyBytes;
    if (room > 0) this.#excerpt.push(bytes.subarray(at, Math.min(end, at + room)));
    this.#bodyBytes += end - at;
  }
}

const LOSSY = new TextDecoder();

/** 0 for what is no header, such as one that goes on with the line before it (RFC 9112, 5.2: obsolete). */
function nameLength(line: string): number {
  HEADER_NAME.lastIndex = 0;
  return HEADER_NAME.test(line) ? HEADER_NAME.lastIndex - 1 : 0;
}

const NAMED = ["content-length", "transfer-encoding", "connection", "retry-after"] as const;

/** Which of those that matter it is. */
function namedHeader(line: string, length: number): (typeof NAMED)[number] | null {
  for (const name of NAMED) {
    if (name.length === length && line.slice(0, length).toLowerCase() === name) return name;
  }
  return null;
}

function joined(list: string | null, value: string): string {
  return list === null || list === "" ? value : `${list},${value}`;
}

/** Without the blanks around it. A regular expression for that takes a time that grows with their square. */
function trimmed(line: string, from: number): string {
  let [start, end] = [from, line.length];
  while (start < end && isBlank(line, start)) start++;
  while (end > start && isBlank(line, end - 1)) end--;
  return line.slice(start, end);
}

function isBlank(text: string, at: number): boolean {
  const code = text.charCodeAt(at);
  return code === 0x20 || code === 0x09;
}

function hasWord(list: string, word: string): boolean {
  return list !== "" && list.split(",").some((one) => trimmed(one, 0).toLowerCase() === word);
}

/** -1 for what is none. */
function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lowerCase = code | 0x20;
  return lowerCase >= 0x61 && lowerCase <= 0x66 ? lowerCase - 0x57 : -1;
}
