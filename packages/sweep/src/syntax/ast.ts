import type { Span } from "../errors.ts";

export type BinaryOperator = "+" | "-" | "*" | "/" | "//" | "%" | "**";
export type CompareOperator = "<" | "<=" | ">" | ">=" | "==" | "!=" | "in" | "not in";

/** An argument of a call; `name` is there for `size=3`. */
export interface Argument {
  readonly name?: { readonly text: string; readonly span: Span };
  readonly value: Node;
}

/** What a text says. Every node knows its place. */
export type Node =
  | { readonly kind: "number"; readonly text: string; readonly span: Span }
  | { readonly kind: "string"; readonly value: string; readonly span: Span }
  | { readonly kind: "constant"; readonly value: boolean | null; readonly span: Span }
  | { readonly kind: "name"; readonly name: string; readonly span: Span }
  | { readonly kind: "list" | "tuple"; readonly items: readonly Node[]; readonly span: Span }
  | { readonly kind: "group"; readonly inner: Node; readonly span: Span }
  | {
      readonly kind: "call";
      readonly name: string;
      readonly nameSpan: Span;
      readonly args: readonly Argument[];
      readonly span: Span;
    }
  | {
      readonly kind: "unary";
      readonly operator: "+" | "-" | "not";
      readonly operand: Node;
      readonly span: Span;
    }
  | {
      readonly kind: "binary";
      readonly operator: BinaryOperator;
      readonly left: Node;
      readonly right: Node;
      readonly span: Span;
    }
  | {
      readonly kind: "compare";
      readonly first: Node;
      readonly rest: readonly { readonly operator: CompareOperator; readonly operand: Node }[];
      readonly span: Span;
    }
  | { readonly kind: "and" | "or"; readonly operands: readonly Node[]; readonly span: Span };
