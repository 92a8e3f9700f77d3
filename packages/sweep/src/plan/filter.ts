import { SweepError, type Span } from "../errors.ts";
import type { Node } from "../syntax/ast.ts";
import { parseExpression } from "../syntax/parser.ts";
import { evaluate, truth } from "../values/evaluate.ts";
import { toText, type Value } from "../values/value.ts";

/** True for the combinations to keep: `value(column)` is the value of that column. */
export type Filter = (value: (column: number) => Value) => boolean;

/** The name of a parameter in a filter: what Python allows in a name, the rest as `_`. */
const filterName = (key: string): string => key.replaceAll(/[^\p{L}\p{N}_]/gu, "_").replace(/^(?=\d)/, "_");

function children(node: Node): readonly Node[] {
  switch (node.kind) {
    case "list":
    case "tuple":
      return node.items;
    case "group":
      return [node.inner];
    case "call":
      return node.args.map(({ value }) => value);
    case "unary":
      return [node.operand];
    case "binary":
      return [node.left, node.right];
    case "compare":
      return [node.first, ...node.rest.map(({ operand }) => operand)];
    case "and":
    case "or":
      return node.operands;
    case "number":
    case "string":
    case "constant":
    case "name":
      return [];
  }
}

/** Every name an expression uses, and the calls, which it cannot have. */
function leaves(node: Node): Node[] {
  const own = node.kind === "name" || node.kind === "call" ? [node] : [];
  return [...own, ...children(node).flatMap(leaves)];
}

function withValues(error: SweepError, source: string, used: string): SweepError {
  const span: Span | undefined = error.span;
  return new SweepError(used === "" ? error.message : `${error.message} (with ${used})`, {
    source,
    flag: "--where",
    ...(span === undefined ? {} : { span }),
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  });
}

/** Reads a filter over parameters of these names; a name that is none of them is an error at once. */
export function parseFilter(source: string, keys: readonly string[]): Filter {
  const names = keys.map(filterName);
  const column = (name: string): number => names.indexOf(name);
  const run = (node: Node, value: (column: number) => Value): Value => {
    const lookup = (name: string): Value | undefined => {
      const index = column(name);
      return index === -1 ? undefined : value(index);
    };
    return evaluate(source, node, { lookup, names, what: "flag" });
  };
  const { node, used } = check(source, run, column);
  return (value) => {
    try {
      return truth(run(node, value));
    } catch (error) {
      if (!(error instanceof SweepError)) throw error;
      const values = used.map((index) => `${names[index]}=${toText(value(index))}`);
      throw withValues(error, source, values.join(", "));
    }
  };
}

/** Parses a filter and looks up all its names, also those that `and` and `or` may never reach. */
function check(
  source: string,
  run: (node: Node, value: (column: number) => Value) => Value,
  column: (name: string) => number,
): { node: Node; used: number[] } {
  try {
    const node = parseExpression(source);
    const used = new Set<number>();
    for (const leaf of leaves(node)) {
      run(leaf, () => ({ kind: "none" }));
      if (leaf.kind === "name") used.add(column(leaf.name));
    }
    return { node, used: [...used] };
  } catch (error) {
    if (error instanceof SweepError) throw withValues(error, source, "");
    throw error;
  }
}
