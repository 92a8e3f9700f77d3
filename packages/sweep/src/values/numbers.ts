import type { Value } from "./value.ts";

const INTEGER = /^(?:0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|[\d_]+)$/;

/** The value of a number that the lexer accepted (no sign), keeping its text. */
export function numberValue(text: string): Value {
  const digits = text.replaceAll("_", "");
  return INTEGER.test(text)
    ? { kind: "int", value: BigInt(digits), text }
    : { kind: "float", value: Number(digits), text };
}

const WHOLE = /^-?(?:0|[1-9]\d*)$/;
const DECIMAL = /^-?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/;

/** A word of a command line that is not sweep syntax: a number, True, False, None, or text. */
export function wordValue(text: string): Value {
  if (WHOLE.test(text) && text.length < 100) return { kind: "int", value: BigInt(text), text };
  if (DECIMAL.test(text)) return { kind: "float", value: Number(text), text };
  if (text === "True" || text === "False") return { kind: "bool", value: text === "True" };
  return text === "None" ? { kind: "none" } : { kind: "str", value: text };
}
