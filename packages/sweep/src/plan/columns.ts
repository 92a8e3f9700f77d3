import { SweepError } from "../errors.ts";
import type { Stream } from "../random/stream.ts";
import { SOBOL_DIMENSIONS } from "../random/sobol.ts";
import type { Axis, DrawContext, Plan } from "../values/axis.ts";
import { parseValue, passedValue, type ParsedValue } from "../values/parse-value.ts";
import { toText, type Value } from "../values/value.ts";
import type { SweepFlag } from "./flags.ts";

/** One word of the command line: the same in all trials, or from an axis. */
export type Part =
  | { readonly kind: "text"; readonly text: string; readonly value: Value }
  | { readonly kind: "axis"; readonly axis: number };

/** A flag with its words: one parameter of the sweep. */
export interface Column {
  /** The parameter's name: the flag without its dashes; `arg1` for a word without a flag. */
  readonly key: string;
  readonly flag: SweepFlag;
  readonly parts: readonly Part[];
}

export interface Layout {
  readonly columns: readonly Column[];
  readonly axes: readonly Axis[];
  /** For each axis, the flag it belongs to, as the user wrote it. */
  readonly axisFlags: readonly string[];
  readonly warnings: readonly string[];
}

/** How a flag is called in messages. */
const title = (flag: SweepFlag, key: string): string =>
  flag.name === "" ? key : flag.name.replace(/!$/, "");

function keyOf(flag: SweepFlag, position: number, taken: ReadonlySet<string>): string {
  const plain = flag.name.replace(/^[-+~]+/, "").replace(/!$/, "");
  const key = flag.name === "" ? `arg${position}` : plain;
  if (!taken.has(key)) return key;
  let number = 2;
  while (taken.has(`${key}_${number}`)) number += 1;
  return `${key}_${number}`;
}

/** Adds the flag to an error of its value. */
function inFlag<T>(flag: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    if (error instanceof SweepError) throw error.inFlag(flag);
    throw error;
  }
}

function checkPresence(flag: SweepFlag, name: string): void {
  if (!flag.name.endsWith("!") || flag.values.length === 1) return;
  throw new SweepError(`${flag.name} takes one value, it has ${flag.values.length}`, {
    flag: name,
    hint: `${flag.name} "[True, False]"`,
  });
}

interface Drawing {
  readonly axes: Axis[];
  readonly axisFlags: string[];
  readonly warnings: string[];
  readonly context: DrawContext;
}

function drawPart(parsed: ParsedValue, name: string, drawing: Drawing): Part {
  if (parsed.kind === "text") return { kind: "text", text: parsed.text, value: parsed.value };
  const plan: Plan = parsed.plan;
  drawing.warnings.push(...plan.warnings.map((warning) => `${name}: ${warning}`));
  drawing.axes.push(plan.draw(drawing.context));
  drawing.axisFlags.push(name);
  return { kind: "axis", axis: drawing.axes.length - 1 };
}

/** A flag with `!` is there or not: each of its values must be True or False. */
function checkTruths(part: Part, axes: readonly Axis[], flag: SweepFlag, name: string): void {
  if (!flag.name.endsWith("!")) return;
  const axis = part.kind === "axis" ? (axes[part.axis] as Axis) : { length: 1, at: () => part.value };
  for (let i = 0; i < axis.length; i++) {
    const value = axis.at(i);
    if (value.kind === "bool") continue;
    const hint = `${flag.name} "[True, False]", or ${name} without the ! to pass the value`;
    throw new SweepError(`${toText(value)} is neither True nor False`, { flag: name, hint });
  }
}

function sobolDimensions(): () => number | undefined {
  let next = 0;
  return () => (next < SOBOL_DIMENSIONS ? next++ : undefined);
}

/** Reads all flags, then draws their values from one stream, in order. */
export function layOut(flags: readonly SweepFlag[], stream: Stream, evaluated: boolean): Layout {
  const context: DrawContext = { stream, nextDimension: sobolDimensions() };
  const taken = new Set<string>();
  let position = 0;
  const named = flags.map((flag) => {
    if (flag.name === "") position += 1;
    const key = keyOf(flag, position, taken);
    taken.add(key);
    return { key, flag, name: title(flag, key) };
  });
  const parsed = named.map(({ key, flag, name }) => {
    checkPresence(flag, name);
    const values = inFlag(name, () => flag.values.map(evaluated ? parseValue : passedValue));
    return { key, flag, name, values };
  });
  const drawing: Drawing = { axes: [], axisFlags: [], warnings: [], context };
  const columns = parsed.map(({ key, flag, name, values }): Column => {
    const parts = inFlag(name, () => values.map((value) => drawPart(value, name, drawing)));
    if (evaluated) for (const part of parts) checkTruths(part, drawing.axes, flag, name);
    return { key, flag, parts };
  });
  return { columns, axes: drawing.axes, axisFlags: drawing.axisFlags, warnings: drawing.warnings };
}
