import { SweepError } from "../errors.ts";
import { nearMisses, oneOf } from "../near.ts";
import type { Node } from "../syntax/ast.ts";
import { parseExpression } from "../syntax/parser.ts";
import { axisOf, fixed, MAX_SAMPLES, type Plan } from "./axis.ts";
import { Call, type CallNode } from "./call.ts";
import { evaluate } from "./evaluate.ts";
import { FUNCTION_NAMES, functionNamed, OTHER_NAMES } from "./functions.ts";
import { wordValue } from "./numbers.ts";
import { strValue, toText, type Value } from "./value.ts";

/**
 * What one word of a command line means.
 * - `text`: no sweep syntax; it is passed on as it is (`value` is what a filter sees).
 * - `axis`: sweep syntax: `plan` gives its values.
 */
export type ParsedValue =
  | { readonly kind: "text"; readonly text: string; readonly value: Value }
  | { readonly kind: "axis"; readonly node: Node; readonly plan: Plan };

const LITERAL = "literal:";
const CALL = /^\s*((?:[A-Za-z_]\w*\.)*)([A-Za-z_]\w*)\(/;

/** `f` is a distribution of numpy; `f(x)` is text. */
const F_WITH_NUMBERS = /^\s*(?:\w+\.)*f\(\s*(?:[-+\d.()[]|\w+\s*=)/;

/**
 * True when a word is sweep syntax, or was meant to be: it starts with `[` or `(`, or with a name and `(` where
 * the name is one of ours, or nearly, or the whole word reads as a call with plain values (`foo(1, 2)`). Such a
 * word gives values or an error, never itself. All else is passed on: `1e-3`, `adam`, `a,b`, `f(x)`, `"[1]"`.
 */
export function isSweepSyntax(text: string): boolean {
  if (text.startsWith(LITERAL)) return false;
  if (/^\s*[[(]/.test(text)) return true;
  const call = CALL.exec(text);
  if (!call) return false;
  const [, , name = ""] = call;
  if (name === "f") return F_WITH_NUMBERS.test(text);
  if (functionNamed(name) !== undefined) return true;
  if (nearMisses(name, FUNCTION_NAMES).length > 0 && /\(\s*[-+\d.['")]/.test(text)) return true;
  if (!text.trimEnd().endsWith(")")) return false;
  return OTHER_NAMES.has(name) || isPlainCall(text);
}

/** A call that parses, of which every argument is a plain value. */
function isPlainCall(text: string): boolean {
  try {
    const node = parseExpression(text.replace(/^\s*(?:\w+\.)+/, ""));
    if (node.kind !== "call") return false;
    for (const { value } of node.args) evaluate(text, value);
    return true;
  } catch (error) {
    if (error instanceof SweepError) return false;
    throw error;
  }
}

/** Reads one word; throws SweepError when it is sweep syntax with a mistake. */
export function parseValue(text: string): ParsedValue {
  if (text.startsWith(LITERAL)) return passed(text.slice(LITERAL.length), true);
  if (!isSweepSyntax(text)) return passed(text, false);
  refuseModules(text);
  const node = parseExpression(text);
  if (node.kind === "call") return { kind: "axis", node, plan: planCall(text, node) };
  const items =
    node.kind === "group" ? [node.inner] : node.kind === "list" || node.kind === "tuple" ? node.items : [];
  if (items.length > 0 || "items" in node) return { kind: "axis", node, plan: planItems(text, items, node) };
  throw new SweepError("this is neither a list nor a call", {
    source: text,
    span: node.span,
    hint: "write [1, 2], or literal:... to pass the text as it is",
  });
}

const passed = (text: string, literal: boolean): ParsedValue => ({
  kind: "text",
  text,
  value: literal ? strValue(text) : wordValue(text),
});

/** A word that is passed on whatever it looks like: strategy none. */
export const passedValue = (text: string): ParsedValue =>
  text.startsWith(LITERAL) ? passed(text.slice(LITERAL.length), true) : passed(text, false);

function refuseModules(source: string): void {
  const call = CALL.exec(source);
  const [, modules = "", name = ""] = call ?? [];
  if (modules === "") return;
  const start = source.indexOf(modules);
  throw new SweepError("names have no module here", {
    source,
    span: { start, end: start + modules.length },
    hint: `${name}(...) without ${modules}`,
  });
}

function planCall(source: string, node: CallNode): Plan {
  const form = functionNamed(node.name);
  if (form !== undefined) return form.plan(new Call(source, node, form.params));
  const other = OTHER_NAMES.get(node.name);
  const near = nearMisses(node.name, FUNCTION_NAMES);
  const hint = other ?? (near.length > 0 ? oneOf(near) : `literal:${source.trim()} passes the text as it is`);
  throw new SweepError(`there is no function ${node.name}`, { source, span: node.nameSpan, hint });
}

function planItems(source: string, items: readonly Node[], whole: Node): Plan {
  if (items.length === 0) {
    const hint = "write at least one value, or literal:[] to pass the text";
    throw new SweepError("an empty list gives no trial", { source, span: whole.span, hint });
  }
  if (items.length > MAX_SAMPLES) {
    throw new SweepError(`${items.length} values, the limit is ${MAX_SAMPLES}`, { source, span: whole.span });
  }
  const values = items.map((item) => evaluate(source, item));
  return fixed(axisOf(values), repeats(values));
}

function repeats(values: readonly Value[]): string[] {
  const seen = new Set<string>();
  for (const value of values) {
    const text = toText(value);
    if (seen.has(text)) return [`the value ${text} is there more than once`];
    seen.add(text);
  }
  return [];
}
