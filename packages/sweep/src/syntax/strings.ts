import { SweepError } from "../errors.ts";

const SIMPLE: Readonly<Record<string, string>> = {
  "\\": "\\",
  "'": "'",
  '"': '"',
  "\n": "",
  a: "\x07",
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};
const HEX_DIGITS: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };

/** Reads the escape after the backslash at `at`: its text, and where it ends. */
function readEscape(source: string, at: number): { text: string; end: number } {
  const char = source[at + 1] ?? "";
  const simple = SIMPLE[char];
  if (simple !== undefined) return { text: simple, end: at + 2 };
  const octal = /^[0-7]{1,3}/.exec(source.slice(at + 1, at + 4));
  if (octal)
    return { text: String.fromCodePoint(Number.parseInt(octal[0], 8)), end: at + 1 + octal[0].length };
  const digits = HEX_DIGITS[char];
  if (digits === undefined) return { text: `\\${char}`, end: at + 1 + char.length };
  const hex = source.slice(at + 2, at + 2 + digits);
  const code = /^[0-9a-fA-F]+$/.test(hex) && hex.length === digits ? Number.parseInt(hex, 16) : -1;
  if (code < 0 || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) {
    throw new SweepError(`\\${char} needs ${digits} hexadecimal digits of a character`, {
      source,
      span: { start: at, end: at + 2 },
      hint: "write \\\\ for a backslash",
    });
  }
  return { text: String.fromCodePoint(code), end: at + 2 + digits };
}

/**
 * Reads the string whose opening quote is at `quote`; `start` is where its prefix begins. Escapes are Python's;
 * a raw string has none. A program's argument cannot hold the character 0, so a string cannot either.
 */
export function readString(
  source: string,
  start: number,
  quote: number,
  raw: boolean,
): { value: string; end: number } {
  const mark = source[quote] as string;
  const fail = (message: string, hint: string, end: number): never => {
    throw new SweepError(message, { source, span: { start, end }, hint });
  };
  if (source.startsWith(mark.repeat(3), quote)) {
    fail("a string in triple quotes is not supported", `write it in one pair of ${mark}`, quote + 3);
  }
  let value = "";
  let at = quote + 1;
  while (at < source.length && source[at] !== mark) {
    const char = source[at] as string;
    if (char === "\n" || char === "\r") break;
    if (char === "\\") {
      const escape = raw ? { text: source.slice(at, at + 2), end: at + 2 } : readEscape(source, at);
      value += escape.text;
      at = escape.end;
    } else {
      value += char;
      at += 1;
    }
  }
  if (source[at] !== mark) {
    fail("this string is never closed", `add the closing ${mark}`, start + (quote - start) + 1);
  }
  if (value.includes("\0")) {
    fail("a program's argument cannot hold the character 0", "leave the \\0 out", at + 1);
  }
  return { value, end: at + 1 };
}
