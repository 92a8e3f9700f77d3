/**
 * What a line of a program's output says of metrics. Pure. Metrics are `name=value`, `name: value`, and the numbers of
 * a JSON line or of a dictionary as Python prints it; docs/runs.md has the rules as users know them.
 */
export interface LineMetrics {
  /** Of the names below: which step all values of the line belong to. */
  readonly step?: number | undefined;
  /** In the order of the line. */
  readonly values: readonly (readonly [name: string, value: number])[];
}

const nothing: LineMetrics = { values: [] };

/** Names of a step, the finest first: the one that a line with several is counted by. */
const stepNames = ["global_step", "step", "iteration", "iter", "epoch"] as const;
const stepRanks: ReadonlyMap<string, number> = new Map(stepNames.map((name, rank) => [name, rank]));

/** `step` of `train/step`: a prefix does not make a metric of it. */
function stepRank(name: string): number | undefined {
  const last = Math.max(name.lastIndexOf("/"), name.lastIndexOf("."));
  return stepRanks.get(name.slice(last + 1).toLowerCase());
}

/** Digits have a bound, so that a long run of them takes no time. */
const NUMBER = String.raw`[+-]?(?:(?:\d{1,64}\.?\d{0,64}|\.\d{1,64})(?:[eE][+-]?\d{1,5})?|nan|inf(?:inity)?)`;
/** What may stand before a name, and after a value. A comma before a digit is part of a number or of a list. */
const BEFORE = String.raw`(?<=^|[\s,;|:(\[{<>"'])`;
const AFTER = String.raw`(?=$|[\s;|)\]}<>"'±]|,(?!\d)|\.(?:\s|$))`;
/** Values that Python shows with their type: `np.float64(0.5)`, `tensor(0.5, device='cuda:0')`. */
const WRAPPER = String.raw`(?:(?:np\.)?(?:float|int|uint)\d+\(|tensor\(|array\()?`;

const pair = new RegExp(
  String.raw`${BEFORE}([A-Za-z_](?:[\w./-]*\w)?)(["']?)[ \t]*([=:])([ \t]*)["']?${WRAPPER}(${NUMBER})%?${AFTER}`,
  "gi",
);
/** `epoch 3/10`, `Epoch: [3]`, `step=100`, `[iter 5]`, `Epoch 3:`. */
const stepPhrase = new RegExp(
  String.raw`${BEFORE}(global_step|step|iteration|iter|epoch)["']?[ \t]*[=:#]?[ \t]*[#[(]?[ \t]*(\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?=$|[\s,;|:)\]}/"']|\.(?:\s|$))`,
  "gi",
);
const bare = new RegExp(String.raw`^(${NUMBER})%?$`, "i");

/** The number that a text means: as Number does, and nan and inf in any case. */
function toNumber(text: string): number {
  const word = text.toLowerCase().replace(/^[+-]/, "");
  if (word === "nan") return Number.NaN;
  if (word === "inf" || word === "infinity") return text.startsWith("-") ? -Infinity : Infinity;
  return Number(text);
}

/** The value of a line that is one number and nothing else. */
export function bareNumber(line: string): number | undefined {
  const found = bare.exec(line.trim());
  return found?.[1] === undefined ? undefined : toNumber(found[1]);
}

export function parseLine(line: string): LineMetrics {
  const text = line.trim();
  if (text.startsWith("{") && text.endsWith("}")) {
    const object = parseJson(text);
    if (object !== undefined) return fromObject(object);
  }
  return fromText(text);
}

class Found {
  readonly values: (readonly [string, number])[] = [];
  #step: number | undefined;
  #rank: number = stepNames.length;

  /** Takes a value, as the step when its name is one. */
  add(name: string, value: number): void {
    const rank = stepRank(name);
    if (rank === undefined) this.values.push([name, value]);
    else this.step(rank, value);
  }
  step(rank: number, value: number): void {
    if (rank >= this.#rank || !Number.isFinite(value)) return;
    this.#rank = rank;
    this.#step = value;
  }
  get line(): LineMetrics {
    if (this.values.length === 0) return nothing;
    return this.#step === undefined ? { values: this.values } : { step: this.#step, values: this.values };
  }
}

function fromText(text: string): LineMetrics {
  const found = new Found();
  for (const [, name = "", quote, separator, space, number = ""] of text.matchAll(pair)) {
    // `cuda:0` and `localhost:80` are places: without a space and a point it is a step or nothing.
    const isTight = separator === ":" && space === "" && quote === "";
    if (isTight && /^[+-]?\d+$/.test(number) && stepRank(name) === undefined) continue;
    found.add(name, toNumber(number));
  }
  if (found.values.length === 0) return nothing;
  for (const [, name = "", number = ""] of text.matchAll(stepPhrase)) {
    const rank = stepRank(name);
    if (rank !== undefined) found.step(rank, Number(number));
  }
  return found.line;
}

// ------------------------------------------------------------------------------------------------------- JSON

type JsonObject = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Values that JSON has no word for, as texts: so programs may write them. */
const notFinite: ReadonlyMap<unknown, number> = new Map([
  ["NaN", Number.NaN],
  ["Infinity", Infinity],
  ["-Infinity", -Infinity],
]);

/** An object as JSON, with NaN and Infinity as Python writes them; undefined when it is none. */
export function parseJson(text: string): JsonObject | undefined {
  const value = tryJson(text) ?? tryJson(pythonFloats(text));
  return isObject(value) ? value : undefined;
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // then it is a line of text
  }
}

const pythonFloats = (text: string): string =>
  text.replace(/(?<=[:,[][ \t]*)(NaN|-?Infinity)(?=[ \t]*[,}\]])/g, (word) => JSON.stringify(word));

/** The numbers of an object, and of the objects in it as `outer.inner`. */
export function fromObject(object: JsonObject): LineMetrics {
  const found = new Found();
  for (const [name, value] of Object.entries(object)) {
    if (!isObject(value)) addNumber(found, name, value);
    else for (const [inner, each] of Object.entries(value)) addNumber(found, `${name}.${inner}`, each);
  }
  return found.line;
}

function addNumber(found: Found, name: string, value: unknown): void {
  const number = typeof value === "number" ? value : notFinite.get(value);
  if (number !== undefined) found.add(name, number);
}
