import { isSubtype, TASK_FOLDER, type ObjectKind, type UserAttributes } from "@rain/protocol";
import {
  badRequest,
  checkContentType,
  checkFlag,
  checkLabel,
  checkOptions,
  checkPath,
  checkUser,
  show,
  wrongType,
} from "./check.ts";
import { DataObject, nameObject } from "./data-object.ts";
import { Task } from "./task.ts";

/** A data object, or a task that has exactly one output, which is meant. */
export type ObjectLike = DataObject | Task;

/** The data object that is meant, or undefined when it is none. */
export function asObject(value: unknown): DataObject | undefined {
  if (value instanceof DataObject) return value;
  return value instanceof Task ? value.output : undefined;
}

export interface InputOptions {
  /** Where it is mapped in the task's folder; default: a name of its own, or in `inputPaths` the label. */
  readonly path?: string | undefined;
  /** What is mapped. Without it the input is a slot of a `Program`. */
  readonly object?: ObjectLike | undefined;
  /** Map a private copy that the program may change; else it is read-only. */
  readonly write?: boolean | undefined;
  /** What the object must be declared as, or a subtype of it. */
  readonly contentType?: string | undefined;
}
export interface InputDirOptions extends Omit<InputOptions, "contentType"> {
  /** Where it is mapped in the task's folder; "." spreads it out in the folder itself, with `write: true`. */
  readonly path?: string | undefined;
  /**
   * Map a link to the one copy that the governor unpacks for all tasks, read-only, instead of a copy for each: for
   * folders that are large and only read. Not together with `write`.
   */
  readonly shared?: boolean | undefined;
}
const inputNames = new Set(["path", "object", "write", "contentType"]);
const inputDirNames = new Set(["path", "object", "write", "shared"]);

/** An input of a task with a name and a place of its own. Made by `input`. */
export class Input {
  readonly label: string;
  readonly path: string | undefined;
  readonly object: DataObject | undefined;
  readonly write: boolean;
  readonly shared: boolean;
  readonly contentType: string;
  readonly kind: ObjectKind;
  constructor(label: string, options: InputOptions & InputDirOptions, kind: ObjectKind = "blob") {
    const what = `${kind === "directory" ? "inputDir" : "input"}(${show(label)})`;
    this.kind = kind;
    this.label = checkLabel(`${what}: label`, label);
    checkOptions(what, options, kind === "directory" ? inputDirNames : inputNames);
    this.write = options.write !== undefined && checkFlag(`${what}: write`, options.write);
    this.shared = options.shared !== undefined && checkFlag(`${what}: shared`, options.shared);
    if (this.shared && this.write)
      throw badRequest(`${what}: shared and write exclude each other: what all tasks see cannot be changed`);
    const isFolder = kind === "directory" && options.path === TASK_FOLDER;
    if (isFolder && !this.write)
      throw badRequest(`${what}: path ".": the task's folder is a private copy; add write: true`);
    this.path =
      options.path === undefined || isFolder ? options.path : checkPath(`${what}: path`, options.path);
    this.contentType =
      options.contentType === undefined ? "" : checkContentType(`${what}: contentType`, options.contentType);
    this.object = asObject(options.object);
    if (options.object !== undefined && !this.object) {
      throw wrongType(`${what}: object must be a data object or a task, not ${show(options.object)}`);
    }
    if (!this.object) return;
    checkKind(what, this.object, kind);
    checkType(what, this.object, this.contentType);
  }
}

/** Throws when an object is not of the kind that is asked. */
export function checkKind(what: string, object: DataObject, kind: ObjectKind | undefined): void {
  if (kind === undefined || object.kind === kind) return;
  const remedy = object.kind === "directory" ? "use inputDir(...)" : "use input(...)";
  throw badRequest(`${what}: ${nameObject(object)} is a ${object.kind}, not a ${kind}; ${remedy}`);
}

/** Throws when an object's declared type cannot be what is asked. An untyped one may turn out to be anything. */
export function checkType(what: string, object: DataObject, wanted: string): void {
  if (object.contentType === "" || isSubtype(object.contentType, wanted)) return;
  throw badRequest(
    `${what}: ${nameObject(object)} has content type "${object.contentType}", not "${wanted}"`,
  );
}

/** An input of a task: what is mapped, and where. Without an object: a slot of a `Program`. */
export function input(label: string, options: InputOptions = {}): Input {
  return new Input(label, options);
}

/** An input of a task that is a directory: which one is mapped, and where. Without an object: a slot of a `Program`. */
export function inputDir(label: string, options: InputDirOptions = {}): Input {
  return new Input(label, options, "directory");
}

export interface OutputOptions {
  /** The file (or folder) that the program writes, in the task's folder; default: the label. */
  readonly path?: string | undefined;
  readonly contentType?: string | undefined;
  /** Attributes of your own: JSON values by name. They are in the object's `spec`. */
  readonly user?: UserAttributes | undefined;
}
const outputNames = new Set(["path", "contentType", "user"]);
const outputDirNames = new Set(["path", "user"]);

/** An output of a task with a name, a place and a content type. Made by `output`. */
export class Output {
  readonly label: string | undefined;
  readonly path: string | undefined;
  readonly contentType: string | undefined;
  readonly kind: ObjectKind;
  readonly user: UserAttributes | undefined;
  constructor(label: string | undefined, options: OutputOptions, kind: ObjectKind = "blob") {
    const name = kind === "directory" ? "outputDir" : "output";
    const what = label === undefined ? `${name}()` : `${name}(${show(label)})`;
    this.kind = kind;
    this.label = label === undefined ? undefined : checkLabel(`${what}: label`, label);
    checkOptions(what, options, kind === "directory" ? outputDirNames : outputNames);
    this.user = options.user === undefined ? undefined : checkUser(`${what}: user`, options.user);
    this.path = options.path === undefined ? undefined : checkPath(`${what}: path`, options.path);
    this.contentType =
      options.contentType === undefined
        ? undefined
        : checkContentType(`${what}: contentType`, options.contentType);
  }
}

/** An output of a task: its label, the file it is in, its content type. As `stdout` or `stderr` it has no path. */
export function output(label?: string, options: OutputOptions = {}): Output {
  return new Output(label, options);
}

/** An output of a task that is a folder which the program leaves: its label, and where it is. */
export function outputDir(label: string, options: Omit<OutputOptions, "contentType"> = {}): Output {
  return new Output(label, options, "directory");
}
