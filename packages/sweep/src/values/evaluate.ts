import { SweepError, type Span } from "../errors.ts";
import { oneOf, nearMisses } from "../near.ts";
import type { Node } from "../syntax/ast.ts";
import { arithmetic, negate } from "./arithmetic.ts";
import { compare } from "./compare.ts";
import { numberValue } from "./numbers.ts";
import type { Value } from "./value.ts";

/** What names stand for; the values of a filter's flags. */
export interface Scope {
  /** The value of a name, undefined when there is none. */
  readonly lookup: (name: string) => Value | undefined;
  /** The names there are, for near misses. */
  readonly names: readonly string[];
  /** What a name is called in a message: "flag" in a filter; undefined where names have no meaning. */
  readonly what?: string;
}

const NO_NAMES: Scope = { lookup: () => undefined, names: [] };

/** Python's truth of a value. */
export function truth(value: Value): boolean {
  switch (value.kind) {
    case "int":
      return value.value !== 0n;
    case "float":
      return value.value !== 0;
    case "str":
      return value.value !== "";
    case "bool":
      return value.value;
    case "none":
      return false;
    case "list":
      return value.items.length > 0;
  }
}

class Evaluator {
  private readonly source: string;
  private readonly scope: Scope;

  constructor(source: string, scope: Scope) {
    this.source = source;
    this.scope = scope;
  }

  evaluate(node: Node): Value {
    switch (node.kind) {
      case "number":
        return numberValue(node.text);
      case "string":
        return { kind: "str", value: node.value };
      case "constant":
        return node.value === null ? { kind: "none" } : { kind: "bool", value: node.value };
      case "name":
        return this.name(node.name, node.span);
      case "group":
        return this.evaluate(node.inner);
      case "list":
      case "tuple":
        return { kind: "list", items: node.items.map((item) => this.evaluate(item)) };
      case "call":
        return this.call(node.name, node.nameSpan);
      case "unary":
        return this.unary(node);
      case "binary": {
        const left = this.evaluate(node.left);
        const right = this.evaluate(node.right);
        return this.at(node.span, () => arithmetic(node.operator, left, right));
      }
      case "compare":
        return this.compare(node);
      case "and":
      case "or":
        return this.logic(node.kind, node.operands);
    }
  }

  /** Runs a step that says what is wrong, and adds where. */
  private at<T>(span: Span, step: () => T | { readonly error: string }): T {
    const result = step();
    if (typeof result === "object" && result !== null && "error" in result) this.fail(result.error, span);
    return result;
  }

  private fail(message: string, span: Span, hint?: string): never {
    throw new SweepError(message, { source: this.source, span, ...(hint === undefined ? {} : { hint }) });
  }

  private name(name: string, span: Span): Value {
    const value = this.scope.lookup(name);
    if (value !== undefined) return value;
    const { what, names } = this.scope;
    if (what === undefined) return this.fail(`${name} is not a value`, span, `put text in quotes: '${name}'`);
    const near = nearMisses(name, names);
    const known = names.length === 0 ? "there is none" : `known: ${names.slice(0, 12).join(", ")}`;
    const hint = near.length > 0 ? oneOf(near) : `put text in quotes: '${name}'`;
    return this.fail(`there is no ${what} ${name} (${known})`, span, hint);
  }

  private call(name: string, span: Span): never {
    if (this.scope.what !== undefined) {
      return this.fail(`${name}(...) cannot be called here`, span, "use + - * / // % ** and comparisons");
    }
    const hint = `write ${name}(...) as the whole value of a flag`;
    return this.fail(`${name}(...) cannot stand inside another value`, span, hint);
  }

  private unary(node: Extract<Node, { kind: "unary" }>): Value {
    const value = this.evaluate(node.operand);
    if (node.operator === "not") return { kind: "bool", value: !truth(value) };
    const result = this.at(node.span, () => negate(node.operator === "-", value));
    const written = node.operand.kind === "number" && node.operand.span.start === node.span.start + 1;
    if (!written || (result.kind !== "int" && result.kind !== "float")) return result;
    return { ...result, text: this.source.slice(node.span.start, node.span.end) };
  }

  private compare(node: Extract<Node, { kind: "compare" }>): Value {
    let left = this.evaluate(node.first);
    for (const { operator, operand } of node.rest) {
      const right = this.evaluate(operand);
      if (!this.at(operand.span, () => compare(operator, left, right))) return { kind: "bool", value: false };
      left = right;
    }
    return { kind: "bool", value: true };
  }

  private logic(kind: "and" | "or", operands: readonly Node[]): Value {
    let value: Value = { kind: "none" };
    for (const operand of operands) {
      value = this.evaluate(operand);
      if (truth(value) === (kind === "or")) return value;
    }
    return value;
  }
}

/** The value of an expression; throws SweepError with the place of what has none. */
export function evaluate(source: string, node: Node, scope: Scope = NO_NAMES): Value {
  return new Evaluator(source, scope).evaluate(node);
}

/** A value as a number, or undefined: True and False count as in Python. */
export function asNumber(value: Value): number | undefined {
  if (value.kind === "int") return Number(value.value);
  if (value.kind === "float") return value.value;
  return value.kind === "bool" ? Number(value.value) : undefined;
}
