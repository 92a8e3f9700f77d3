import { SweepError, type Span } from "../errors.ts";
import { readString } from "./strings.ts";

export type Token =
  | { readonly kind: "number"; readonly text: string; readonly span: Span }
  | { readonly kind: "string"; readonly value: string; readonly span: Span }
  | { readonly kind: "name"; readonly text: string; readonly span: Span }
  | { readonly kind: "operator"; readonly text: string; readonly span: Span }
  | { readonly kind: "end"; readonly span: Span };

const SPACE = /[ \t\r\n\f]*/y;
const NUMBER =
  /(?:0[xX](?:_?[0-9a-fA-F])+|0[oO](?:_?[0-7])+|0[bB](?:_?[01])+|(?:\d(?:_?\d)*(?:\.(?:\d(?:_?\d)*)?)?|\.\d(?:_?\d)*)(?:[eE][+-]?\d(?:_?\d)*)?)/y;
const NAME = /[\p{L}_][\p{L}\p{N}_]*/uy;
const OPERATOR = /\*\*|\/\/|<=|>=|==|!=|[-+*/%<>()[\],=]/y;

/** Characters of one number: the time to read one grows with the square. */
const MAX_NUMBER = 1000;

/** What people write out of habit, and what to write here. */
const HABITS: readonly (readonly [text: string, message: string, hint: string])[] = [
  ["&&", "'&&' is not an operator here", "write: and"],
  ["||", "'||' is not an operator here", "write: or"],
  ["!", "'!' is not an operator here", "write: not"],
  [
    "{",
    "a dictionary or a set has no meaning here",
    "write a list, or literal:... to pass the text as it is",
  ],
  ["“", "a curly quote does not start a string", "use ' or \""],
  ["”", "a curly quote does not start a string", "use ' or \""],
  ["‘", "a curly quote does not start a string", "use ' or \""],
  ["’", "a curly quote does not start a string", "use ' or \""],
  ["−", "this is not a minus sign that can be read", "write -"],
  ["–", "this is not a minus sign that can be read", "write -"],
  [":", "slices and annotations have no meaning here", "write range(start, stop, step)"],
  ["^", "'^' is not an operator here", "write ** for a power"],
];

function match(pattern: RegExp, source: string, at: number): string | undefined {
  pattern.lastIndex = at;
  return pattern.exec(source)?.[0];
}

/** The token that starts at or after `from`. */
export function readToken(source: string, from: number): Token {
  const start = from + (match(SPACE, source, from) ?? "").length;
  if (start >= source.length) return { kind: "end", span: { start: source.length, end: source.length } };
  const char = source[start] as string;
  if (char === "'" || char === '"') return stringToken(source, start, start, false);
  const name = match(NAME, source, start);
  if (name !== undefined) return nameToken(source, start, name);
  if (/[0-9.]/.test(char)) {
    const number = match(NUMBER, source, start);
    if (number !== undefined) return numberToken(source, start, number);
  }
  const operator = match(OPERATOR, source, start);
  if (operator !== undefined) {
    return { kind: "operator", text: operator, span: { start, end: start + operator.length } };
  }
  throw unexpected(source, start);
}

function unexpected(source: string, start: number): SweepError {
  const habit = HABITS.find(([text]) => source.startsWith(text, start));
  if (habit) {
    const [text, message, hint] = habit;
    return new SweepError(message, { source, span: { start, end: start + text.length }, hint });
  }
  const char = String.fromCodePoint(source.codePointAt(start) as number);
  return new SweepError(`unexpected character ${JSON.stringify(char)}`, {
    source,
    span: { start, end: start + char.length },
    hint: "put text in quotes, or write literal:... to pass the whole value as it is",
  });
}

function stringToken(source: string, start: number, quote: number, raw: boolean): Token {
  const { value, end } = readString(source, start, quote, raw);
  return { kind: "string", value, span: { start, end } };
}

function nameToken(source: string, start: number, text: string): Token {
  const end = start + text.length;
  const next = source[end];
  if (next === "'" || next === '"') {
    if (/^[rRuU]$/.test(text)) return stringToken(source, start, end, text.toLowerCase() === "r");
    throw new SweepError(`a string cannot start with ${text}${next}`, {
      source,
      span: { start, end },
      hint: `write ${next}...${next}, or put a comma between the two`,
    });
  }
  return { kind: "name", text, span: { start, end } };
}

function numberToken(source: string, start: number, text: string): Token {
  const end = start + text.length;
  if (text.length > MAX_NUMBER) {
    const message = `a number of ${text.length} characters, the limit is ${MAX_NUMBER}`;
    throw new SweepError(message, { source, span: { start, end } });
  }
  const glued = match(NAME, source, end);
  if (glued !== undefined) {
    const whole = text + glued;
    throw new SweepError(`${whole} is not a number`, {
      source,
      span: { start, end: start + whole.length },
      hint: /^[jJ]$/.test(glued) ? "complex numbers have no meaning here" : `write '${whole}' if it is text`,
    });
  }
  if (/^0[\d_]*[1-9]/.test(text) && /^[\d_]+$/.test(text)) {
    const plain = text.replace(/^[0_]+/, "");
    throw new SweepError("a whole number cannot start with 0", {
      source,
      span: { start, end },
      hint: `write ${plain}, or '${text}' if it is text`,
    });
  }
  return { kind: "number", text, span: { start, end } };
}
