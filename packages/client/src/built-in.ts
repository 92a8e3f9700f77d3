import { limits, RainError, type Work } from "@rain/protocol";
import { badRequest, checkNumber, checkOptions, show, wrongType } from "./check.ts";
import { isText } from "./content-types.ts";
import type { DataObject } from "./data-object.ts";
import type { Pattern } from "./pattern.ts";
import { asObject, type ObjectLike } from "./slots.ts";
import { readTaskOptions, taskOptionNames, type TaskOptions } from "./task-options.ts";

const optionNames: ReadonlySet<string> = new Set(taskOptionNames);

/** One object of the bytes of many, in order. Of one text type throughout it is of that type, else untyped. */
export function concatPattern(objects: readonly ObjectLike[], options: TaskOptions): Pattern {
  if (!Array.isArray(objects)) throw wrongType(`concat: needs a list of data objects, not ${show(objects)}`);
  if (objects.length > limits.inputsPerTask) {
    throw new RainError(
      "limit-exceeded",
      `concat: ${objects.length} objects; the limit is ${limits.inputsPerTask}`,
    );
  }
  const inputs = objects.map((object, index) => readObject(`concat: object ${index}`, object));
  const types = new Set(inputs.map((object) => object.contentType));
  const [type = ""] = types;
  return builtIn("concat", { type: "concat" }, inputs, types.size === 1 && isText(type) ? type : "", options);
}

/** The same object, `seconds` later. */
export function sleepPattern(object: ObjectLike, seconds: number, options: TaskOptions): Pattern {
  const input = readObject("sleep", object);
  const work: Work = { type: "sleep", seconds: checkNumber("sleep: seconds", seconds, 0, 1e9) };
  return builtIn("sleep", work, [input], input.contentType, options);
}

function readObject(what: string, given: unknown): DataObject {
  const object = asObject(given);
  if (!object) throw wrongType(`${what}: must be a data object or a task, not ${show(given)}`);
  if (object.kind !== "blob") throw badRequest(`${what}: must be a blob, not a ${object.kind}`);
  return object;
}

function builtIn(
  what: string,
  work: Work,
  objects: readonly DataObject[],
  contentType: string,
  options: TaskOptions,
): Pattern {
  checkOptions(what, options, optionNames);
  return {
    what,
    work,
    inputs: objects.map((object) => ({
      object,
      label: undefined,
      path: undefined,
      write: false,
      contentType: "",
    })),
    outputs: [{ label: "output", contentType, path: undefined, capture: undefined }],
    common: readTaskOptions(what, options),
  };
}
