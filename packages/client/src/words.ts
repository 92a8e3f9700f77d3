import { show, wrongType } from "./check.ts";

/**
 * Splits a line into words as a POSIX shell does: blanks and newlines part them, '...', "..." and \ quote. Nothing is
 * expanded, and | > ; # * are characters like others. An unclosed quote is a `TypeError`.
 *
 * Not the `shlex` library's `split`: inside double quotes it keeps the \ of \$ and \`, and it unescapes a second time
 * what stood in single quotes before a double-quoted part of the same word.
 */
export function splitWords(what: string, line: string): string[] {
  const words: string[] = [];
  let word: string | undefined; // undefined between words; "" is a word too, written ''
  let at = 0;
  while (at < line.length) {
    const char = line.charAt(at);
    if (char === " " || char === "\t" || char === "\n") {
      if (word !== undefined) words.push(word);
      word = undefined;
      at++;
      continue;
    }
    const part = readPart(line, at);
    if (part === undefined) {
      const problem = char === "\\" ? "it ends with a backslash" : `the quote ${char} is not closed`;
      throw wrongType(`${what}: ${problem}, in ${show(line)}`);
    }
    if (part.text !== undefined) word = (word ?? "") + part.text;
    at = part.end;
  }
  if (word !== undefined) words.push(word);
  return words;
}

interface Part {
  /** Undefined for a line continuation, which is not part of a word. */
  readonly text: string | undefined;
  readonly end: number;
}

/** The character, escape or quoted piece that starts at `at`; undefined when it has no end. */
function readPart(line: string, at: number): Part | undefined {
  const char = line.charAt(at);
  if (char === "\\") {
    if (at + 1 >= line.length) return undefined;
    const next = line.charAt(at + 1);
    return { text: next === "\n" ? undefined : next, end: at + 2 };
  }
  if (char === "'") {
    const close = line.indexOf("'", at + 1);
    return close === -1 ? undefined : { text: line.slice(at + 1, close), end: close + 1 };
  }
  if (char === '"') return readDoubleQuoted(line, at);
  return { text: char, end: at + 1 };
}

function readDoubleQuoted(line: string, start: number): Part | undefined {
  let text = "";
  for (let at = start + 1; at < line.length; at++) {
    const char = line.charAt(at);
    if (char === '"') return { text, end: at + 1 };
    const next = line.charAt(at + 1);
    if (char !== "\\" || next === "" || !'$`"\\\n'.includes(next)) {
      text += char;
      continue;
    }
    if (next !== "\n") text += next;
    at++;
  }
  return undefined;
}
