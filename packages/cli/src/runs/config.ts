import { nearMisses, oneOf, readFlags, type SweepFlag } from "@rain/sweep";
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  Scalar,
  stringify,
  type ParsedNode,
} from "yaml";
import { usageError } from "../failure.ts";
import { SETTING_FLAGS, settingNames, type RunSettings, type SettingName } from "./flags.ts";
import { readSetting, writeSetting } from "./settings.ts";
import { isSimple, wordsOfFlags } from "./words.ts";

/** What a YAML file says of a run. */
export interface RunFile {
  readonly settings: RunSettings;
  readonly program: string | undefined;
  /** The program's arguments: `run.args`, then `hyper_params.params` as flags. */
  readonly words: readonly string[];
  /** Keys that are known and have no meaning here. */
  readonly ignored: readonly string[];
}

/** Keys of Grid's files for machines that a cloud starts; here governors are there already. */
const IGNORED: ReadonlySet<string> = new Set([
  "compute.provider.vendor",
  "compute.provider.region",
  "compute.train.nodes",
  "compute.train.scale_down_seconds",
  "compute.train.use_spot",
]);
const PARAMS = "hyper_params.params";
const ARGS = "run.args";
const PROGRAM = "run.program";
const ALIASES: ReadonlyMap<string, SettingName> = new Map([["hyper_params.settings.num_trials", "trials"]]);

const settingOf: ReadonlyMap<string, SettingName> = new Map([
  ...settingNames.map((name) => [SETTING_FLAGS[name].key, name] as const),
  ...ALIASES,
]);
const leaves: readonly string[] = [...settingOf.keys(), ...IGNORED, PARAMS, ARGS, PROGRAM];

type Node = ParsedNode | null | undefined;

/** Reads the YAML of a run. Errors name the file, the line and the key. */
export function parseRunConfig(source: string, file: string): RunFile {
  return new Parser(source, file).read();
}

class Parser {
  readonly #file: string;
  readonly #lines = new LineCounter();
  readonly #document: Document.Parsed;
  #settings: RunSettings = {};
  #program: string | undefined;
  #args: string[] = [];
  #params: string[] = [];
  readonly #ignored: string[] = [];

  constructor(source: string, file: string) {
    this.#file = file;
    this.#document = parseDocument(source, { lineCounter: this.#lines, prettyErrors: false });
  }

  read(): RunFile {
    const [problem] = this.#document.errors;
    if (problem) throw this.#problemAt(problem.pos[0], problem.message);
    const top = this.#resolved(this.#document.contents);
    if (top !== undefined) this.#readMap("", top);
    const words = [...this.#args, ...this.#params];
    return { settings: this.#settings, program: this.#program, words, ignored: this.#ignored };
  }

  #problemAt(offset: number, message: string): Error {
    const { line, col } = this.#lines.linePos(offset);
    return usageError(`${this.#file}:${line}:${col}: ${message}`);
  }
  #problem(node: Node, message: string): Error {
    return this.#problemAt(node?.range?.[0] ?? 0, message);
  }

  /** The node that an alias stands for; undefined for nothing. */
  #resolved(node: Node): ParsedNode | undefined {
    const found = isAlias(node) ? node.resolve(this.#document) : node;
    if (found === null || found === undefined) return undefined;
    return isScalar(found) && found.value === null ? undefined : (found as ParsedNode);
  }

  #readMap(path: string, node: ParsedNode): void {
    if (!isMap(node))
      throw this.#problem(node, `${path === "" ? "the file" : path} must have keys, as "key: value"`);
    for (const { key, value } of node.items) {
      const name = this.#text(key, "a key");
      this.#readPair(path === "" ? name : `${path}.${name}`, path, key, this.#resolved(value));
    }
  }

  #readPair(path: string, parent: string, key: ParsedNode, value: ParsedNode | undefined): void {
    const setting = settingOf.get(path);
    const isKnown = leaves.includes(path) || leaves.some((leaf) => leaf.startsWith(`${path}.`));
    if (!isKnown) throw this.#unknown(path, parent, key);
    if (IGNORED.has(path)) this.#ignored.push(path);
    else if (value === undefined) return;
    else if (setting !== undefined) this.#readSetting(setting, path, value);
    else if (path === PROGRAM) this.#program = this.#text(value, path);
    else if (path === ARGS) this.#args = this.#readArgs(value);
    else if (path === PARAMS) this.#params = this.#readParams(value);
    else this.#readMap(path, value);
  }

  #unknown(path: string, parent: string, key: ParsedNode): Error {
    const prefix = parent === "" ? "" : `${parent}.`;
    const siblings = new Set(
      leaves.filter((leaf) => leaf.startsWith(prefix)).map((leaf) => leaf.slice(prefix.length).split(".")[0]),
    );
    const names = [...siblings].filter((name) => name !== undefined);
    const near = nearMisses(path.slice(prefix.length), names);
    const last = path.slice(path.lastIndexOf(".") + 1);
    const elsewhere = leaves.filter((leaf) => leaf.endsWith(`.${last}`));
    const hint =
      near.length > 0
        ? `did you mean ${oneOf(near)}?`
        : elsewhere.length > 0
          ? `did you mean ${oneOf(elsewhere)}?`
          : `known are ${names.join(", ")}`;
    return this.#problem(key, `there is no key ${path}; ${hint}`);
  }

  #readSetting(name: SettingName, path: string, value: ParsedNode): void {
    const { line } = this.#lines.linePos(value.range[0]);
    const what = `${this.#file}:${line}: ${path}`;
    this.#settings = { ...this.#settings, ...readSetting(name, what, this.#text(value, path)) };
  }

  /** A scalar as it is written: 1e-3 stays 1e-3. */
  #text(node: Node, what: string): string {
    if (!isScalar(node)) throw this.#problem(node, `${what} must be one value`);
    const { value, type, source } = node;
    if (type === Scalar.PLAIN && source !== undefined) return source;
    return typeof value === "string" ? value : String(value);
  }

  #readArgs(node: ParsedNode): string[] {
    if (!isSeq(node)) throw this.#problem(node, `${ARGS} must be a list of words`);
    return node.items.map((item) => this.#text(this.#resolved(item) ?? null, ARGS));
  }

  #readParams(node: ParsedNode): string[] {
    if (!isMap(node)) throw this.#problem(node, `${PARAMS} must have a key for each flag, as "lr: 0.1"`);
    return node.items.flatMap(({ key, value }) => {
      const name = this.#text(key, `a key of ${PARAMS}`);
      const flag = name.startsWith("-") ? name : `--${name}`;
      const [read, second] = readFlags([flag]);
      if (read?.name !== flag || second || read.joined === true)
        throw this.#problem(key, `${PARAMS}: ${JSON.stringify(name)} cannot be the name of a flag`);
      const given = this.#resolved(value);
      if (given === undefined) return [flag];
      const text = isSeq(given) ? this.#list(given, name) : this.#text(given, `${PARAMS}.${name}`);
      const isApart = readFlags([flag, text]).length === 1;
      return isApart ? [flag, text] : [`${flag}=${text}`];
    });
  }

  /** A list of the file in sweep syntax. */
  #list(node: Node, name: string): string {
    if (!isSeq(node)) throw this.#problem(node, `${PARAMS}.${name} must be a value or a list of values`);
    const items = node.items.map((item): string => {
      const given = this.#resolved(item);
      if (given === undefined) return "None";
      if (!isScalar(given)) return this.#list(given, name);
      const { value, source } = given;
      if (typeof value === "boolean") return value ? "True" : "False";
      if (typeof value === "number" && Number.isFinite(value)) return source ?? String(value);
      if (typeof value === "string") return JSON.stringify(value);
      throw this.#problem(given, `${PARAMS}.${name}: ${source ?? String(value)} cannot be in a list`);
    });
    return `[${items.join(", ")}]`;
  }
}

// ------------------------------------------------------------------------------------------------------- printing

/** The YAML that gives the same run again. */
export function printRunConfig(run: {
  readonly settings: RunSettings;
  readonly program: string;
  readonly words: readonly string[];
}): string {
  const tree: Tree = {};
  put(tree, PROGRAM, run.program);
  const { args, params } = splitParams(run.words);
  if (args.length > 0) put(tree, ARGS, args);
  for (const name of settingNames) {
    const text = writeSetting(run.settings, name);
    if (text !== undefined) put(tree, SETTING_FLAGS[name].key, plain(text));
  }
  if (params.length > 0) put(tree, PARAMS, Object.fromEntries(params));
  return stringify(tree, { lineWidth: 0 });
}

type Value = string | number | boolean | null | readonly string[] | Tree;
interface Tree {
  [key: string]: Value;
}

function put(tree: Tree, path: string, value: Value): void {
  const [first = "", ...rest] = path.split(".");
  if (rest.length === 0) {
    tree[first] = value;
    return;
  }
  const below = (tree[first] ??= {});
  if (typeof below === "object" && below !== null && !Array.isArray(below))
    put(below as Tree, rest.join("."), value);
}

/** A text that YAML reads as the same text also without quotes is written without. */
function plain(text: string): string | number | boolean {
  if (text === "true" || text === "false") return text === "true";
  return String(Number(text)) === text && Number.isFinite(Number(text)) ? Number(text) : text;
}

/** The flags at the end that are `--name value`, each name once, as parameters; the words before them. */
function splitParams(words: readonly string[]): {
  readonly args: readonly string[];
  readonly params: readonly (readonly [string, string | number | boolean | null])[];
} {
  const flags = readFlags(words);
  const names = new Set<string>();
  let first = flags.length;
  while (first > 0) {
    const flag: SweepFlag | undefined = flags[first - 1];
    if (flag === undefined || !isSimple(flag) || names.has(flag.name)) break;
    names.add(flag.name);
    first -= 1;
  }
  const params = flags.slice(first).map(({ name, values: [value] }) => {
    return [name.slice(2), value === undefined ? null : plain(value)] as const;
  });
  // Numbers as keys would come first, whatever their place.
  const isOrdered = params.every(([name]) => !/^\d+$/.test(name));
  return isOrdered ? { args: wordsOfFlags(flags.slice(0, first)), params } : { args: [...words], params: [] };
}
