import {
  asObjectId,
  asTaskId,
  RainError,
  type ArrayColumn,
  type ConstantSpec,
  type InputSpec,
  type OutputSpec,
  type TaskArray as ArraySpec,
  type TaskSpec,
} from "@rain/protocol";
import type { ArrayPattern, OwnInput } from "./array-pattern.ts";
import { recordOf, type DataObject } from "./data-object.ts";
import type { Pattern } from "./pattern.ts";
import { arrayRecordOf, TaskArray } from "./task-array.ts";
import { messageBudget, weigh } from "./weight.ts";

/** Tasks, arrays and constants as they are submitted. */

/** The largest number of a task or an object. */
export const MAX_ID: number = 2 ** 31 - 1;

/** Outputs may still be missing when only the size counts. */
export function specOf(
  pattern: Pattern,
  id: number,
  inputs: readonly number[],
  outputs: readonly DataObject[],
): TaskSpec {
  return {
    id: asTaskId(id),
    work: pattern.work,
    inputs: pattern.inputs.map((slot, index): InputSpec => ({
      object: asObjectId(inputs[index] ?? MAX_ID),
      ...(slot.label !== undefined && { label: slot.label }),
      ...(slot.path !== undefined && { path: slot.path }),
      ...(slot.write && { write: true }),
      ...(slot.shared && { shared: true }),
      ...(slot.contentType !== "" && { contentType: slot.contentType }),
    })),
    outputs: pattern.outputs.map((slot, index): OutputSpec => {
      const object = outputs[index];
      return {
        object: asObjectId(object?.id ?? MAX_ID),
        label: slot.label,
        kind: slot.kind,
        contentType: slot.contentType,
        keep: object?.isKept ?? false,
        ...(slot.path !== undefined && { path: slot.path }),
        ...(slot.capture !== undefined && { capture: slot.capture }),
        ...(slot.user !== undefined && { user: slot.user }),
      };
    }),
    ...pattern.common,
  };
}

const ORIGIN_BYTES = 4_500; // the longest origin, with its key

/** Throws when the task does not fit into a message. */
export function checkWeight(pattern: Pattern): void {
  // Estimated with the largest numbers, before any is taken.
  const numbers = pattern.inputs.map(() => MAX_ID);
  const weight = weigh(specOf(pattern, MAX_ID, numbers, []));
  const full = { bytes: weight.bytes + ORIGIN_BYTES, items: weight.items + 2 };
  if (full.bytes <= messageBudget.bytes && full.items <= messageBudget.items) return;
  throw new RainError(
    "limit-exceeded",
    `${pattern.what}: its description has about ${full.bytes} bytes and ${full.items} values; the limits are ` +
      `${messageBudget.bytes} and ${messageBudget.items}. Pass large texts in a blob, and join inputs by concat`,
  );
}

/** The description of an array with these numbers; `keep` holds for all outputs. */
export function arraySpecOf(
  { pattern, count, vary, inputs: own }: ArrayPattern,
  { first, objects }: Pick<ArraySpec, "first" | "objects">,
  inputs: readonly number[],
  origin: string | undefined,
  keep: boolean,
): ArraySpec {
  const { id: _id, outputs, ...task } = specOf(pattern, first, inputs, []);
  return {
    first,
    count,
    objects,
    task: {
      ...task,
      outputs: outputs.map(({ object: _object, ...output }) => ({ ...output, keep })),
      ...(origin !== undefined && { origin }),
    },
    vary: vary.concat(own.map(inputColumn)),
  };
}

/** Output numbers of another array count on; other objects are listed. */
function inputColumn({ slot, of }: OwnInput): ArrayColumn {
  const at = ["input", slot] as const;
  if (!(of instanceof TaskArray)) return { at, values: of.map(({ id }) => id ?? MAX_ID) };
  return { at, range: { from: arrayRecordOf(of).objects, step: 1 } };
}

/** The constant as it is submitted; `inline` says whether its bytes go along. */
export function constantSpec(object: DataObject, inline: boolean): ConstantSpec {
  const { id, kind, label, contentType, keep, content, info, user, stored } = recordOf(object);
  if (id === undefined || !info || (!content && !stored))
    throw new Error(`${label} is no constant with a number`);
  const { size, sha256 } = info;
  const spec = { id, kind, label, contentType, keep, size, sha256, ...(user !== undefined && { user }) };
  return inline && content instanceof Uint8Array ? { ...spec, data: content } : spec;
}
