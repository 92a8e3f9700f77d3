/**
 * A value as Python has it. `text` is how the user wrote a number; it is passed on as it is, so that 1e-3 stays
 * 1e-3.
 */
export type Value =
  | { readonly kind: "int"; readonly value: bigint; readonly text?: string }
  | { readonly kind: "float"; readonly value: number; readonly text?: string }
  | { readonly kind: "str"; readonly value: string }
  | { readonly kind: "bool"; readonly value: boolean }
  | { readonly kind: "none" }
  | { readonly kind: "list"; readonly items: readonly Value[] };

export const intValue = (value: number | bigint): Value => ({ kind: "int", value: BigInt(value) });
export const floatValue = (value: number): Value => ({ kind: "float", value });
export const strValue = (value: string): Value => ({ kind: "str", value });

/** A float as Python's `repr` writes it: the shortest digits that read back the same, 1e-05, 1e+16, 0.0. */
export function floatRepr(x: number): string {
  if (Number.isNaN(x)) return "nan";
  if (!Number.isFinite(x)) return x > 0 ? "inf" : "-inf";
  if (Object.is(x, -0)) return "-0.0";
  const [mantissa, exponentText] = x.toExponential().split("e") as [string, string];
  const exponent = Number(exponentText);
  if (x !== 0 && (exponent < -4 || exponent >= 16)) {
    const digits = String(Math.abs(exponent)).padStart(2, "0");
    return `${mantissa}e${exponent < 0 ? "-" : "+"}${digits}`;
  }
  const plain = x.toString();
  return /[.]/.test(plain) ? plain : `${plain}.0`;
}

const JSON_NUMBER = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$/;

/** As Python's `json.dumps` writes it, but that a number keeps the text the user wrote where JSON allows it. */
function toJson(value: Value): string {
  switch (value.kind) {
    case "int":
      return value.text !== undefined && JSON_NUMBER.test(value.text) ? value.text : value.value.toString();
    case "float":
      if (value.text !== undefined && JSON_NUMBER.test(value.text)) return value.text;
      if (Number.isFinite(value.value)) return floatRepr(value.value);
      return Number.isNaN(value.value) ? "NaN" : value.value > 0 ? "Infinity" : "-Infinity";
    case "str":
      return JSON.stringify(value.value);
    case "bool":
      return value.value ? "true" : "false";
    case "none":
      return "null";
    case "list":
      return `[${value.items.map(toJson).join(", ")}]`;
  }
}

/** The value as one word of a command line: numbers as written, strings without quotes, lists as JSON. */
export function toText(value: Value): string {
  switch (value.kind) {
    case "int":
      return value.text ?? value.value.toString();
    case "float":
      return value.text ?? floatRepr(value.value);
    case "str":
      return value.value;
    case "bool":
      return value.value ? "True" : "False";
    case "none":
      return "None";
    case "list":
      return toJson(value);
  }
}

/** A parameter for tables and JSON. An integer that a double cannot hold is a string of its digits. */
export type ParamValue = string | number | boolean | null | readonly ParamValue[];

export function toParam(value: Value): ParamValue {
  switch (value.kind) {
    case "int": {
      const number = Number(value.value);
      return Number.isSafeInteger(number) ? number : value.value.toString();
    }
    case "float":
    case "str":
    case "bool":
      return value.value;
    case "none":
      return null;
    case "list":
      return value.items.map(toParam);
  }
}

/** What a value is called in a message. */
export function kindName(value: Value): string {
  const names = {
    int: "a whole number",
    float: "a number",
    str: "a string",
    bool: "True or False",
    none: "None",
    list: "a list",
  };
  return names[value.kind];
}
