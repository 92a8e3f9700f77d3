import type { Argument, Node } from "./ast.ts";

const ESCAPES: Readonly<Record<string, string>> = {
  "\\": "\\\\",
  "'": "\\'",
  "\n": "\\n",
  "\r": "\\r",
  "\t": "\\t",
};

const escapeChar = (char: string): string =>
  ESCAPES[char] ?? (/\p{C}/u.test(char) ? `\\U${hex(char.codePointAt(0) as number)}` : char);
const hex = (code: number): string => code.toString(16).padStart(8, "0");

/** A string in quotes that the parser reads back as the same. */
const quote = (value: string): string => `'${Array.from(value, escapeChar).join("")}'`;

const printArgument = ({ name, value }: Argument): string =>
  name === undefined ? printExpression(value) : `${name.text}=${printExpression(value)}`;

/** An operand: in brackets unless it cannot be mistaken. */
function operand(node: Node): string {
  const text = printExpression(node);
  const closed = !["unary", "binary", "compare", "and", "or"].includes(node.kind);
  return closed ? text : `(${text})`;
}

/**
 * The text of an expression. Parsing it gives the same expression again, but for places and for brackets that
 * operators need.
 */
export function printExpression(node: Node): string {
  switch (node.kind) {
    case "number":
      return node.text;
    case "string":
      return quote(node.value);
    case "constant":
      return node.value === null ? "None" : node.value ? "True" : "False";
    case "name":
      return node.name;
    case "list":
      return `[${node.items.map(printExpression).join(", ")}]`;
    case "tuple":
      return `(${node.items.map(printExpression).join(", ")}${node.items.length === 1 ? "," : ""})`;
    case "group":
      return `(${printExpression(node.inner)})`;
    case "call":
      return `${node.name}(${node.args.map(printArgument).join(", ")})`;
    case "unary":
      return `${node.operator}${node.operator === "not" ? " " : ""}${operand(node.operand)}`;
    case "binary":
      return `${operand(node.left)} ${node.operator} ${operand(node.right)}`;
    case "compare":
      return [operand(node.first), ...node.rest.map((r) => `${r.operator} ${operand(r.operand)}`)].join(" ");
    case "and":
    case "or":
      return node.operands.map(operand).join(` ${node.kind} `);
  }
}
