import type { CompareOperator } from "../syntax/ast.ts";
import type { Problem } from "./arithmetic.ts";
import { kindName, type Value } from "./value.ts";

/** True and False compare as 1 and 0; whole numbers with floats exactly. */
function comparable(value: Value): bigint | number | string | undefined {
  if (value.kind === "bool") return value.value ? 1n : 0n;
  return value.kind === "int" || value.kind === "float" || value.kind === "str" ? value.value : undefined;
}

function equal(a: Value, b: Value): boolean {
  if (a.kind === "list" || b.kind === "list") {
    if (a.kind !== "list" || b.kind !== "list" || a.items.length !== b.items.length) return false;
    return a.items.every((item, i) => equal(item, b.items[i] as Value));
  }
  if (a.kind === "none" || b.kind === "none") return a.kind === b.kind;
  if ((a.kind === "str") !== (b.kind === "str")) return false;
  const x = comparable(a);
  const y = comparable(b);
  // A whole number and a float compare by value: 1 is 1.0.
  // oxlint-disable-next-line eqeqeq
  return x == y;
}

function contains(item: Value, container: Value): boolean | Problem {
  if (container.kind === "list") return container.items.some((other) => equal(item, other));
  if (container.kind === "str" && item.kind === "str") return container.value.includes(item.value);
  return { error: `'in' needs a list or a string, this is ${kindName(container)}` };
}

function ordered(operator: "<" | "<=" | ">" | ">=", a: Value, b: Value): boolean | Problem {
  const x = comparable(a);
  const y = comparable(b);
  if (x === undefined || y === undefined || (typeof x === "string") !== (typeof y === "string")) {
    return { error: `${operator} cannot compare ${kindName(a)} with ${kindName(b)}` };
  }
  switch (operator) {
    case "<":
      return x < y;
    case "<=":
      return x <= y;
    case ">":
      return x > y;
    case ">=":
      return x >= y;
  }
}

/** left operator right, as Python compares. */
export function compare(operator: CompareOperator, left: Value, right: Value): boolean | Problem {
  switch (operator) {
    case "==":
      return equal(left, right);
    case "!=":
      return !equal(left, right);
    case "in":
      return contains(left, right);
    case "not in": {
      const result = contains(left, right);
      return typeof result === "boolean" ? !result : result;
    }
    case "<":
    case "<=":
    case ">":
    case ">=":
      return ordered(operator, left, right);
  }
}
