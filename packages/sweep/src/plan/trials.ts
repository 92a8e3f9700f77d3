import { toParam, toText, type ParamValue, type Value } from "../values/value.ts";
import type { Column, Layout, Part } from "./columns.ts";
import type { Combinations, Indices } from "./combinations.ts";

/** One run of the program. */
export interface Trial {
  /** From 0, over all trials. */
  readonly index: number;
  /** From 0; trials that only repeat the same values share it. */
  readonly combination: number;
  /** From 0; always 0 without `repeat`. */
  readonly repeat: number;
  /** The value of every parameter. */
  readonly params: Readonly<Record<string, ParamValue>>;
  /** The same as it stands on the command line, for tables. */
  readonly texts: Readonly<Record<string, string>>;
  /** The words after the program. */
  readonly args: readonly string[];
  /** RAIN_SEED with `repeat`, empty without. */
  readonly env: Readonly<Record<string, string>>;
}

/** The value of one column in a combination. */
export function columnValue(layout: Layout, column: Column, indices: Indices): Value {
  const values = column.parts.map((part) => partValue(layout, part, indices));
  const [only] = values;
  if (only === undefined) return { kind: "bool", value: true };
  return values.length === 1 ? only : { kind: "list", items: values };
}

function partValue(layout: Layout, part: Part, indices: Indices): Value {
  if (part.kind === "text") return part.value;
  const axis = layout.axes[part.axis];
  if (axis === undefined) throw new Error(`no axis ${part.axis}`);
  return axis.at(indices[part.axis] as number);
}

const partText = (layout: Layout, part: Part, indices: Indices): string =>
  part.kind === "text" ? part.text : toText(partValue(layout, part, indices));

/** The words of one flag; `raw` leaves a `!` as it is (strategy none). */
function words(column: Column, texts: readonly string[], raw: boolean): readonly string[] {
  const { name, joined } = column.flag;
  if (joined === true) return texts.map((text) => `${name}=${text}`);
  if (name === "") return texts;
  if (!raw && name.endsWith("!")) return texts[0] === "True" ? [name.slice(0, -1)] : [];
  return [name, ...texts];
}

/** The trials of a sweep: made one by one, as often as they are asked for. */
export class Trials implements Iterable<Trial> {
  /** How many there are: combinations times repeats. */
  readonly count: number;
  private readonly layout: Layout;
  private readonly combinations: Combinations;
  private readonly repeats: number | undefined;
  private readonly raw: boolean;

  constructor(layout: Layout, combinations: Combinations, repeats: number | undefined, raw: boolean) {
    this.layout = layout;
    this.combinations = combinations;
    this.repeats = repeats;
    this.raw = raw;
    this.count = combinations.count * (repeats ?? 1);
  }

  *[Symbol.iterator](): Iterator<Trial> {
    const repeats = this.repeats ?? 1;
    let combination = 0;
    for (const indices of this.combinations.each()) {
      for (let repeat = 0; repeat < repeats; repeat++) yield this.trial(combination, repeat, indices);
      combination += 1;
    }
  }

  /** Trial number `index`; undefined beyond the last. Behind a filter this walks from the first. */
  at(index: number): Trial | undefined {
    if (!Number.isInteger(index) || index < 0) return undefined;
    const repeats = this.repeats ?? 1;
    const combination = Math.floor(index / repeats);
    const indices = this.combinations.at(combination);
    return indices === undefined ? undefined : this.trial(combination, index % repeats, indices);
  }

  private trial(combination: number, repeat: number, indices: Indices): Trial {
    // Entries, not assignment: a flag may be called __proto__.
    const params: [string, ParamValue][] = [];
    const texts: [string, string][] = [];
    const args: string[] = [];
    for (const column of this.layout.columns) {
      const own = column.parts.map((part) => partText(this.layout, part, indices));
      params.push([column.key, toParam(columnValue(this.layout, column, indices))]);
      texts.push([column.key, own.length === 0 ? "True" : own.join(" ")]);
      args.push(...words(column, own, this.raw));
    }
    return {
      index: combination * (this.repeats ?? 1) + repeat,
      combination,
      repeat,
      params: Object.fromEntries(params),
      texts: Object.fromEntries(texts),
      args,
      env: this.repeats === undefined ? {} : { RAIN_SEED: String(repeat) },
    };
  }
}
