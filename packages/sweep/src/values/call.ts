import { SweepError, type Span } from "../errors.ts";
import { nearMisses, oneOf } from "../near.ts";
import type { Node } from "../syntax/ast.ts";
import { MAX_SAMPLES } from "./axis.ts";
import { asNumber, evaluate } from "./evaluate.ts";
import { kindName, type Value } from "./value.ts";

export type CallNode = Extract<Node, { kind: "call" }>;

/** A parameter's name, and its default as it is written; undefined when it must be given. */
export type Param = readonly [name: string, fallback?: string];

/** A condition on a number: the test, and how a message says it. */
export type Condition = readonly [holds: (x: number) => boolean, says: string];

/** The arguments of one call, matched to the parameters as Python matches them. */
export class Call {
  readonly source: string;
  readonly node: CallNode;
  private readonly params: readonly Param[];
  private readonly bound = new Map<string, Node>();

  constructor(source: string, node: CallNode, params: readonly Param[]) {
    this.source = source;
    this.node = node;
    this.params = params;
    this.bind();
    for (const [name, fallback] of params) {
      if (fallback !== undefined || this.bound.has(name)) continue;
      const end = node.span.end;
      this.fail(`${node.name} needs ${name}`, { start: end - 1, end }, this.signature());
    }
  }

  /** `uniform(low=0.0, high=1.0, size=None)` */
  signature(): string {
    const params = this.params.map(([name, fallback]) =>
      fallback === undefined ? name : `${name}=${fallback}`,
    );
    return `${this.node.name}(${params.join(", ")})`;
  }

  fail(message: string, span: Span, hint?: string): never {
    throw new SweepError(message, { source: this.source, span, ...(hint === undefined ? {} : { hint }) });
  }

  private bind(): void {
    for (const [index, { name, value }] of this.node.args.entries()) {
      if (name === undefined) {
        const param = this.params[index];
        if (param === undefined)
          this.fail(`${this.node.name} takes ${this.limit()}`, value.span, this.signature());
        this.bound.set(param[0], value);
        continue;
      }
      const names = this.params.map(([known]) => known);
      if (!names.includes(name.text)) {
        const near = nearMisses(name.text, names);
        const hint = near.length > 0 ? oneOf(near) : this.signature();
        this.fail(`${this.node.name} has no argument ${name.text}`, name.span, hint);
      }
      if (this.bound.has(name.text)) this.fail(`${name.text} is given twice`, name.span, this.signature());
      this.bound.set(name.text, value);
    }
  }

  private limit(): string {
    const count = this.params.length;
    return count === 0 ? "no argument" : `at most ${count} argument${count === 1 ? "" : "s"}`;
  }

  /** Where an argument stands; the call itself when it is not written. */
  span(name: string): Span {
    return this.bound.get(name)?.span ?? this.node.span;
  }
  /** From the first of these arguments to the last. */
  spanOf(names: readonly string[]): Span {
    const spans = names.flatMap((name) => this.bound.get(name)?.span ?? []);
    if (spans.length === 0) return this.node.span;
    return { start: Math.min(...spans.map((s) => s.start)), end: Math.max(...spans.map((s) => s.end)) };
  }
  /** An argument as it is written. */
  text(name: string): string {
    const { start, end } = this.span(name);
    return this.source.slice(start, end);
  }
  has(name: string): boolean {
    return this.value(name) !== undefined;
  }

  /** The value of an argument; undefined when it is not given or None. */
  value(name: string): Value | undefined {
    const node = this.bound.get(name);
    if (node === undefined) return undefined;
    const value = evaluate(this.source, node);
    return value.kind === "none" ? undefined : value;
  }

  private required(name: string): Value {
    return this.value(name) ?? this.fail(`${name} cannot be None`, this.span(name), this.signature());
  }

  /** A finite number that meets the conditions. */
  float(name: string, fallback?: number, ...conditions: readonly Condition[]): number {
    if (fallback !== undefined && !this.has(name)) return fallback;
    const value = this.required(name);
    const number = asNumber(value);
    if (number === undefined)
      this.fail(`${name} must be a number, this is ${kindName(value)}`, this.span(name));
    if (!Number.isFinite(number)) this.fail(`${name} must be finite`, this.span(name));
    this.check(name, number, conditions);
    return number;
  }

  private check(name: string, number: number, conditions: readonly Condition[]): void {
    for (const [holds, says] of conditions) {
      if (!holds(number)) this.fail(`${name} must be ${says}`, this.span(name), this.signature());
    }
  }

  /** A whole number within 64 bits. */
  bigint(name: string): bigint {
    const value = this.required(name);
    if (value.kind !== "int") {
      this.fail(`${name} must be a whole number, this is ${kindName(value)}`, this.span(name));
    }
    if (BigInt.asIntN(64, value.value) !== value.value) {
      this.fail(`${name} must fit in 64 bits`, this.span(name));
    }
    return value.value;
  }

  /** A whole number that a double holds exactly. */
  int(name: string, fallback?: number, ...conditions: readonly Condition[]): number {
    if (fallback !== undefined && !this.has(name)) return fallback;
    const number = Number(this.bigint(name));
    if (!Number.isSafeInteger(number)) this.fail(`${name} must be below 2**53`, this.span(name));
    this.check(name, number, conditions);
    return number;
  }

  boolean(name: string, fallback: boolean): boolean {
    const value = this.value(name);
    if (value === undefined) return fallback;
    if (value.kind !== "bool") this.fail(`${name} must be True or False`, this.span(name));
    return value.value;
  }

  /** A list of numbers, with at least one. */
  floats(name: string, ...conditions: readonly Condition[]): number[] {
    const value = this.required(name);
    if (value.kind !== "list") this.fail(`${name} must be a list of numbers`, this.span(name));
    if (value.items.length === 0) this.fail(`${name} is empty`, this.span(name));
    return value.items.map((item) => {
      const number = asNumber(item);
      if (number === undefined || !Number.isFinite(number)) {
        this.fail(`${name} must be a list of numbers, it holds ${kindName(item)}`, this.span(name));
      }
      this.check(name, number, conditions);
      return number;
    });
  }

  /** How many values: the argument of this name, from 1 to MAX_SAMPLES. */
  count(name: string, fallback: number): number {
    const value = this.value(name);
    if (value === undefined) return fallback;
    if (value.kind === "list")
      this.fail("one flag has one row of values", this.span(name), "write one number");
    const count = this.int(name);
    if (count <= 0) this.fail(`${count} values: at least one is needed`, this.span(name), "write 1 or more");
    if (count > MAX_SAMPLES) this.fail(`${count} values, the limit is ${MAX_SAMPLES}`, this.span(name));
    return count;
  }
}
