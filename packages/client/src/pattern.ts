import {
  limits,
  RainError,
  TASK_FOLDER,
  type Capture,
  type ObjectKind,
  type UserAttributes,
  type Work,
} from "@rain/protocol";
import { badRequest, checkPath, show, wrongType } from "./check.ts";
import type { DataObject } from "./data-object.ts";
import { Places } from "./places.ts";
import { asObject, checkKind, checkType, Input, Output } from "./slots.ts";
import type { CommonSpec } from "./task-options.ts";

export interface PatternInput {
  /** What is mapped; undefined for a slot, which `session.run` fills by its label. */
  readonly object: DataObject | undefined;
  readonly label: string | undefined;
  readonly path: string | undefined;
  readonly write: boolean;
  readonly shared: boolean;
  readonly contentType: string;
  /** What a slot must be filled with; undefined for either. */
  readonly kind: ObjectKind | undefined;
}

export interface PatternOutput {
  readonly label: string;
  readonly kind: ObjectKind;
  readonly contentType: string;
  readonly user: UserAttributes | undefined;
  readonly path: string | undefined;
  readonly capture: Capture | undefined;
}

/** A checked task that has no number and no session yet: `session.execute` makes one task of it, a `Program` many. */
export interface Pattern {
  /** How errors name it. */
  readonly what: string;
  readonly work: Work;
  readonly inputs: readonly PatternInput[];
  readonly outputs: readonly PatternOutput[];
  readonly common: CommonSpec;
}

/** Name of an input that has no place: unlike any of the user's, and the same in the same task (`cache`). */
const placeOf = (index: number): string => `in-${String(index).padStart(10, "0")}`;

/** Collects the inputs and outputs of one task, and checks that their labels and paths do not clash. */
export class Slots {
  readonly inputs: PatternInput[] = [];
  readonly outputs: PatternOutput[] = [];
  readonly #what: string;
  /** The same thing written twice is one input or output. */
  readonly #indexes = new Map<DataObject | Input | Output, number>();
  readonly #inputLabels = new Set<string>();
  readonly #outputLabels = new Set<string>();
  readonly #inputPlaces: Places;
  readonly #outputPlaces: Places;
  /** Label of the input that is the task's folder itself. */
  #folder: string | undefined;

  constructor(what: string) {
    this.#what = what;
    this.#inputPlaces = new Places(what, "apart");
    this.#outputPlaces = new Places(what, "nested");
  }

  /** To be called when all are there. An output may be an input's own place, or lie in a mapped folder. */
  checkPlaces(): void {
    this.#outputPlaces.checkAgainst(this.#inputPlaces);
    this.#inputPlaces.checkAgainst(this.#outputPlaces);
  }

  /** An input at `path`, or with no place of its own; the index of it. */
  addInput(given: DataObject | Input, path: string | undefined): number {
    const known = this.#indexes.get(given);
    if (known !== undefined && (path === undefined || this.inputs[known]?.path === path)) return known;
    const isInput = given instanceof Input;
    const { kind } = given;
    if (path === TASK_FOLDER) this.#takeFolder(given);
    else if (path !== undefined) this.#inputPlaces.take(path, kind);
    if (isInput) {
      if (this.#inputLabels.has(given.label)) {
        throw badRequest(`${this.#what}: two inputs have the label ${show(given.label)}`);
      }
      this.#inputLabels.add(given.label);
    }
    this.#checkCount("inputs", this.inputs.length, limits.inputsPerTask);
    const index = this.inputs.push({
      object: isInput ? given.object : given,
      label: isInput ? given.label : undefined,
      path,
      write: isInput && given.write,
      shared: isInput && given.shared,
      contentType: isInput ? given.contentType : "",
      kind,
    });
    this.#indexes.set(given, index - 1);
    return index - 1;
  }

  /** An object among the arguments: mapped to a name of its own, unless its `input` says where. */
  addArgumentInput(given: DataObject | Input): number {
    const known = this.#indexes.get(given);
    if (known !== undefined && this.inputs[known]?.path !== undefined) return known;
    return this.addInput(
      given,
      (given instanceof Input ? given.path : undefined) ?? placeOf(this.inputs.length),
    );
  }

  /** The output of a file that the program writes; the index of it. */
  addFile(given: Output | string): number {
    if (given instanceof Output) {
      const known = this.#indexes.get(given);
      if (known !== undefined) return known;
    }
    const { label, path, contentType, kind, user } =
      typeof given === "string" ? new Output(given, { path: given }) : given;
    const name = label ?? path;
    const place = path ?? label;
    if (name === undefined || place === undefined) {
      throw badRequest(`${this.#what}: an output() that is not stdout or stderr needs a label or a path`);
    }
    this.#outputPlaces.take(checkPath(`${this.#what}: output ${show(name)}`, place), kind);
    const index = this.#addOutput({
      label: name,
      kind,
      user,
      contentType: contentType ?? "",
      path: place,
      capture: undefined,
    });
    if (given instanceof Output) this.#indexes.set(given, index);
    return index;
  }

  /** Other inputs may lie in the task's folder; a second one that is the folder may not. */
  #takeFolder(given: DataObject | Input): void {
    if (this.#folder !== undefined)
      throw badRequest(
        `${this.#what}: two inputs are the task's folder (path "."): ${show(this.#folder)}, ${show(given.label)}`,
      );
    this.#folder = given.label;
  }

  /** What the program writes to stdout or stderr, or all files that it makes or changes. */
  addCapture(capture: Capture, given: true | string | Output): void {
    const { label, path, contentType, kind, user } =
      given instanceof Output ? given : new Output(given === true ? undefined : given, {});
    if (kind === "directory" && capture !== "files")
      throw badRequest(`${this.#what}: ${capture}: its output is a file, not an outputDir()`);
    if (path !== undefined)
      throw badRequest(`${this.#what}: ${capture}: its output has no path, but ${show(path)} is given`);
    if (given instanceof Output && this.#indexes.has(given)) {
      throw badRequest(`${this.#what}: ${capture}: the same output() is used twice`);
    }
    const index = this.#addOutput({
      label: label ?? capture,
      kind: capture === "files" ? "directory" : kind,
      user,
      contentType: contentType ?? "",
      path: undefined,
      capture,
    });
    if (given instanceof Output) this.#indexes.set(given, index);
  }

  #addOutput(output: PatternOutput): number {
    if (this.#outputLabels.has(output.label)) {
      throw badRequest(`${this.#what}: two outputs have the label ${show(output.label)}`);
    }
    this.#outputLabels.add(output.label);
    this.#checkCount("outputs", this.outputs.length, limits.outputsPerTask);
    return this.outputs.push(output) - 1;
  }

  #checkCount(what: string, count: number, limit: number): void {
    if (count < limit) return;
    throw new RainError("limit-exceeded", `${this.#what}: more than ${limit} ${what}`, { limit });
  }
}

/** Objects for the slots of a pattern: every slot, nothing else. */
export function fillSlots(pattern: Pattern, given: Readonly<Record<string, unknown>>): Pattern {
  const rest = new Map(Object.entries(given));
  const inputs = pattern.inputs.map((slot) => {
    if (slot.object || slot.label === undefined) return slot;
    const what = `${pattern.what}: input ${show(slot.label)}`;
    if (!rest.has(slot.label)) throw wrongType(`${what} has no object`);
    const value = rest.get(slot.label);
    rest.delete(slot.label);
    const object = asObject(value);
    if (!object) throw wrongType(`${what}: must be a data object or a task, not ${show(value)}`);
    checkKind(what, object, slot.kind);
    checkType(what, object, slot.contentType);
    return { ...slot, object };
  });
  const [unknown] = rest.keys();
  if (unknown !== undefined) {
    const slots = pattern.inputs.filter((slot) => !slot.object).map((slot) => show(slot.label));
    const known = slots.length === 0 ? "it has none" : `it has ${slots.join(", ")}`;
    throw wrongType(`${pattern.what}: there is no input ${show(unknown)} to fill; ${known}`);
  }
  return { ...pattern, inputs };
}
