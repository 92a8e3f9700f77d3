import { SweepError, type Span } from "../errors.ts";
import type { Argument, BinaryOperator, CompareOperator, Node } from "./ast.ts";
import { readToken, type Token } from "./lexer.ts";

/** Nested brackets, and operators in one text: far above sense, far below the stack's end. */
const MAX_DEPTH = 100;
const MAX_OPERATORS = 1000;
/** Characters of one text. */
const MAX_TEXT = 1 << 20;

const COMPARE: ReadonlySet<string> = new Set(["<", "<=", ">", ">=", "==", "!="]);
const CLOSING: Readonly<Record<string, string>> = { "(": ")", "[": "]" };
const KEYWORDS: ReadonlySet<string> = new Set([
  "and",
  "or",
  "not",
  "in",
  "if",
  "else",
  "for",
  "is",
  "lambda",
]);

const over = (from: Span, to: Span): Span => ({ start: from.start, end: to.end });

/** The one parser: values (`[1, 2]`, `uniform(0, 1, 3)`) and filters (`lr * batch_size < 1`) are one grammar. */
class Parser {
  private readonly source: string;
  private token: Token;
  private previous: Span = { start: 0, end: 0 };
  private depth = 0;
  private operators = 0;

  constructor(source: string) {
    this.source = source;
    if (source.length > MAX_TEXT) {
      throw new SweepError(`the text has ${source.length} characters, the limit is ${MAX_TEXT}`);
    }
    this.token = readToken(source, 0);
  }

  parse(): Node {
    if (this.atEnd()) this.fail("there is nothing here", this.token.span);
    const node = this.expression();
    if (!this.atEnd()) this.failAfter(node);
    return node;
  }

  private fail(message: string, span: Span, hint?: string): never {
    throw new SweepError(message, { source: this.source, span, ...(hint === undefined ? {} : { hint }) });
  }

  private failAfter(node: Node): never {
    const { span } = this.token;
    if (this.isOperator("=")) this.fail("'=' does not compare", span, "write ==");
    if (this.isOperator(",")) {
      this.fail("a list without brackets", span, `write [${this.source.trim()}]`);
    }
    if (this.token.kind === "operator" && /^[)\]]$/.test(this.token.text)) {
      this.fail(`this ${this.token.text} closes nothing`, span, `leave out the ${this.token.text}`);
    }
    const what = node.kind === "list" || node.kind === "tuple" ? "the list" : "the end of the value";
    const hint = "leave it out, or write literal:... to pass the whole value as it is";
    this.fail(`unexpected text after ${what}`, span, hint);
  }

  private advance(): Token {
    const { token } = this;
    this.previous = token.span;
    this.token = readToken(this.source, token.span.end);
    return token;
  }

  private atEnd(): boolean {
    return this.token.kind === "end";
  }
  private isOperator(text: string): boolean {
    return this.token.kind === "operator" && this.token.text === text;
  }
  private isWord(text: string): boolean {
    return this.token.kind === "name" && this.token.text === text;
  }

  private countOperator(): void {
    this.operators += 1;
    if (this.operators <= MAX_OPERATORS) return;
    this.fail(`more than ${MAX_OPERATORS} operators`, this.token.span, "write a shorter expression");
  }

  private nested<T>(read: () => T): T {
    this.depth += 1;
    if (this.depth > MAX_DEPTH) this.fail(`nested deeper than ${MAX_DEPTH}`, this.token.span);
    const result = read();
    this.depth -= 1;
    return result;
  }

  private expression(): Node {
    return this.nested(() => this.chain("or", () => this.chain("and", () => this.negation())));
  }

  private chain(word: "and" | "or", read: () => Node): Node {
    const first = read();
    if (!this.isWord(word)) return first;
    const operands = [first];
    while (this.isWord(word)) {
      this.countOperator();
      this.advance();
      operands.push(read());
    }
    return { kind: word, operands, span: over(first.span, this.previous) };
  }

  private negation(): Node {
    if (!this.isWord("not")) return this.comparison();
    const { span } = this.advance();
    const operand = this.nested(() => this.negation());
    return { kind: "unary", operator: "not", operand, span: over(span, operand.span) };
  }

  private compareOperator(): CompareOperator | undefined {
    const { token } = this;
    if (token.kind === "operator" && COMPARE.has(token.text)) {
      this.advance();
      return token.text as CompareOperator;
    }
    if (this.isWord("in")) {
      this.advance();
      return "in";
    }
    if (this.isWord("is")) this.fail("'is' has no meaning here", token.span, "write == or !=");
    if (!this.isWord("not")) return undefined;
    this.advance();
    if (!this.isWord("in")) this.fail("expected 'in' after 'not'", this.token.span, "write: not in");
    this.advance();
    return "not in";
  }

  private comparison(): Node {
    const first = this.sum();
    const rest: { operator: CompareOperator; operand: Node }[] = [];
    for (;;) {
      const operator = this.compareOperator();
      if (operator === undefined) break;
      this.countOperator();
      rest.push({ operator, operand: this.sum() });
    }
    return rest.length === 0
      ? first
      : { kind: "compare", first, rest, span: over(first.span, this.previous) };
  }

  private binary(operators: string, read: () => Node): Node {
    let left = read();
    const wanted = operators.split(" ");
    while (this.token.kind === "operator" && wanted.includes(this.token.text)) {
      this.countOperator();
      const operator = this.token.text as BinaryOperator;
      this.advance();
      const right = read();
      left = { kind: "binary", operator, left, right, span: over(left.span, right.span) };
    }
    return left;
  }

  private sum(): Node {
    return this.binary("+ -", () => this.binary("* / // %", () => this.factor()));
  }

  private factor(): Node {
    const { token } = this;
    if (token.kind !== "operator" || (token.text !== "-" && token.text !== "+")) return this.power();
    this.advance();
    const operand = this.nested(() => this.factor());
    return { kind: "unary", operator: token.text, operand, span: over(token.span, operand.span) };
  }

  private power(): Node {
    const left = this.atom();
    if (!this.isOperator("**")) return left;
    this.countOperator();
    this.advance();
    const right = this.nested(() => this.factor());
    return { kind: "binary", operator: "**", left, right, span: over(left.span, right.span) };
  }

  private atom(): Node {
    const { token } = this;
    switch (token.kind) {
      case "number":
        this.advance();
        return { kind: "number", text: token.text, span: token.span };
      case "string":
        return this.string(token.value, token.span);
      case "name":
        return this.name(token.text, token.span);
      case "operator":
        if (token.text === "[") return this.list();
        if (token.text === "(") return this.tuple();
        break;
      case "end":
        break;
    }
    return this.fail(...this.missing(token));
  }

  /** Why no value can start with this token. */
  private missing(token: Token): [message: string, span: Span, hint?: string] {
    const span = token.span;
    if (token.kind === "end") return ["a value is missing at the end", span];
    if (token.kind === "operator" && token.text === "=") return ["'=' does not compare", span, "write =="];
    if (token.kind === "operator" && /^[,)\]]$/.test(token.text)) {
      return [
        `a value is missing before ${token.text}`,
        span,
        `write the value, or leave out the ${token.text}`,
      ];
    }
    if (token.kind === "operator") return [`a value cannot start with ${token.text}`, span];
    return ["expected a value", span];
  }

  private string(value: string, span: Span): Node {
    this.advance();
    if (this.token.kind === "string") {
      const fixed = this.withComma(span.end);
      const hint = `put a comma between the two: ${fixed}`;
      this.fail("two strings with no comma between them", this.token.span, hint);
    }
    return { kind: "string", value, span };
  }

  /** The source with a comma put in at `at`, for a hint. */
  private withComma(at: number): string {
    const rest = this.source.slice(at);
    const fixed = `${this.source.slice(0, at)},${/^\s/.test(rest) ? "" : " "}${rest}`;
    return fixed.length <= 160 ? fixed : fixed.slice(Math.max(0, at - 40), at + 40);
  }

  private name(text: string, span: Span): Node {
    if (text === "True" || text === "False" || text === "None") {
      this.advance();
      return { kind: "constant", value: text === "None" ? null : text === "True", span };
    }
    if (text === "lambda" || text === "for" || text === "if") {
      this.fail(`'${text}' has no meaning here`, span, "write the values out");
    }
    if (KEYWORDS.has(text)) this.fail(`a value is missing before '${text}'`, span);
    this.advance();
    if (this.isOperator("(")) return this.call(text, span);
    return { kind: "name", name: text, span };
  }

  private list(): Node {
    const open = this.advance().span;
    const { items } = this.items("[", open);
    return { kind: "list", items, span: over(open, this.previous) };
  }

  private tuple(): Node {
    const open = this.advance().span;
    const { items, trailing } = this.items("(", open);
    const span = over(open, this.previous);
    const [only] = items;
    if (only !== undefined && items.length === 1 && !trailing) return { kind: "group", inner: only, span };
    return { kind: "tuple", items, span };
  }

  private items(bracket: "(" | "[", open: Span): { items: Node[]; trailing: boolean } {
    const items: Node[] = [];
    let trailing = false;
    while (!this.closes(bracket, open)) {
      items.push(this.expression());
      trailing = this.comma(bracket, open);
    }
    return { items, trailing };
  }

  private call(name: string, nameSpan: Span): Node {
    const open = this.advance().span;
    const args: Argument[] = [];
    while (!this.closes("(", open)) {
      const argument = this.argument();
      if (argument.name === undefined && args.at(-1)?.name !== undefined) {
        this.fail("an argument without a name after one with a name", argument.value.span);
      }
      args.push(argument);
      this.comma("(", open);
    }
    return { kind: "call", name, nameSpan, args, span: over(nameSpan, this.previous) };
  }

  private argument(): Argument {
    const value = this.expression();
    if (!this.isOperator("=")) return { value };
    if (value.kind !== "name") this.fail("only a name can stand before =", value.span);
    this.advance();
    return { name: { text: value.name, span: value.span }, value: this.expression() };
  }

  /** Takes the closing bracket if it is next; fails on another bracket or the end. */
  private closes(bracket: "(" | "[", open: Span): boolean {
    const closing = CLOSING[bracket] as string;
    if (this.isOperator(closing)) {
      this.advance();
      return true;
    }
    if (this.token.kind === "end")
      this.fail(`this ${bracket} is never closed`, open, `add ${closing} at the end`);
    if (this.token.kind === "operator" && /^[)\]]$/.test(this.token.text)) {
      const wrong = this.token.text;
      this.fail(`${wrong} does not close ${bracket}`, this.token.span, `write ${closing}`);
    }
    return false;
  }

  /** After an item: takes a comma, or leaves a closing bracket. True if there was a comma. */
  private comma(bracket: "(" | "[", open: Span): boolean {
    const { token } = this;
    if (this.isOperator(",")) {
      this.advance();
      return true;
    }
    if (token.kind === "end") this.closes(bracket, open);
    if (token.kind === "operator" && /^[)\]]$/.test(token.text)) return false;
    if (token.kind === "name" && (token.text === "for" || token.text === "if")) {
      this.fail(`'${token.text}' has no meaning here`, token.span, "write the values out, or use range(...)");
    }
    if (this.isOperator("=")) this.fail("'=' does not compare", token.span, "write ==");
    const fixed = this.withComma(this.previous.end);
    return this.fail("a comma is missing before this", token.span, `put a comma between the two: ${fixed}`);
  }
}

/** Parses a whole text; throws SweepError and nothing else. */
export function parseExpression(source: string): Node {
  return new Parser(source).parse();
}
