import {
  limits,
  taskOfArray,
  type ConstantSpec,
  type SessionId,
  type TaskArray,
  type TaskSpec,
} from "@rain/protocol";
import { nanoid } from "nanoid";
import type { Connection } from "./connection.ts";
import { LinkLost } from "./connection.ts";
import { recordOf, type DataObject } from "./data-object.ts";
import { constantSpec } from "./describe.ts";
import type { Batch } from "./graph.ts";
import { taskRecordOf } from "./task.ts";
import { cutArray } from "./cut-array.ts";
import { groupTasks } from "./group.ts";
import { weigh, type Weight } from "./weight.ts";

/**
 * What a part of a submit weighs, unless a single task or constant weighs more: much less than a message may, so that
 * the server does not read at one of them for long.
 */
const PART: Weight = { bytes: limits.messageBytes / 2, items: limits.messageItems / 5 };

interface Part {
  readonly tasks: TaskSpec[];
  readonly constants: ConstantSpec[];
  arrays?: TaskArray[];
}

const isInline = (object: DataObject): boolean => {
  const { info, stored } = recordOf(object);
  return !stored && (info?.size ?? 0) <= limits.inlineBytes;
};

/** Constants whose bytes do not fit into a message, to be uploaded before. */
export const largeConstants = (batch: Batch): DataObject[] =>
  batch.constants.filter((object) => !isInline(object) && !recordOf(object).stored);

function* specsOf(batch: Batch): Generator<TaskSpec, void> {
  for (const task of batch.tasks) {
    const { spec } = taskRecordOf(task);
    if (!spec) throw new Error(`task ${task.id} was not taken`);
    yield spec;
  }
}
function* arraysOf(batch: Batch): Generator<TaskArray, void> {
  for (const { first, spec } of batch.arrays) {
    if (!spec) throw new Error(`the array from task ${first} on was not taken`);
    yield spec;
  }
}

/** What is to be done, as the server understands it. */
function* workOf(batch: Batch, asArrays: boolean): Generator<TaskSpec | TaskArray, void> {
  if (asArrays) {
    yield* groupTasks(specsOf(batch));
    for (const array of arraysOf(batch)) yield* cutArray(array);
    return;
  }
  yield* specsOf(batch);
  for (const array of arraysOf(batch))
    for (let index = 0; index < array.count; index++) yield taskOfArray(array, index);
}

/**
 * The batch in parts that each fit into a message; made one by one, since a batch may be larger than the memory.
 * `asArrays`: tasks that are alike go as one.
 */
function* partsOf(batch: Batch, asArrays: boolean): Generator<Part, void, undefined> {
  let part: Part = { tasks: [], constants: [] };
  let bytes = 0;
  let items = 0;
  const isFull = (weight: { bytes: number; items: number }): boolean =>
    (items > 0 && (bytes + weight.bytes > PART.bytes || items + weight.items > PART.items)) ||
    part.tasks.length === limits.submitChunk ||
    part.arrays?.length === limits.submitChunk ||
    part.constants.length === limits.submitChunk;
  const count = (weight: { bytes: number; items: number }): void => {
    bytes += weight.bytes;
    items += weight.items;
  };
  const startNew = (): void => {
    part = { tasks: [], constants: [] };
    bytes = 0;
    items = 0;
  };
  for (const object of batch.constants) {
    const spec = constantSpec(object, isInline(object));
    const weight = weigh(spec);
    if (isFull(weight)) {
      yield part;
      startNew();
    }
    part.constants.push(spec);
    count(weight);
  }
  for (const each of workOf(batch, asArrays)) {
    const weight = weigh(each);
    if (isFull(weight)) {
      yield part;
      startNew();
    }
    if ("count" in each) (part.arrays ??= []).push(each);
    else part.tasks.push(each);
    count(weight);
  }
  yield part;
}

/**
 * Sends a batch: all of it or nothing takes effect. A lost connection takes its parts along, so that the batch starts
 * over on the next one; its key tells the server when it has it already.
 */
export async function sendBatch(connection: Connection, session: SessionId, batch: Batch): Promise<void> {
  const key = nanoid();
  for (;;) {
    const link = await connection.linked();
    try {
      await sendParts(connection, link, session, key, batch);
      return;
    } catch (error) {
      if (!(error instanceof LinkLost)) throw error;
    }
  }
}

async function sendParts(
  connection: Connection,
  link: number,
  session: SessionId,
  key: string,
  batch: Batch,
): Promise<void> {
  let number = 0;
  let previous: Part | undefined; // held back until it is known whether it is the last
  const send = async (part: Part, last: boolean): Promise<void> => {
    await connection.request("submit", { session, key, part: number++, last, ...part }, { onlyOn: link });
  };
  for (const part of partsOf(batch, connection.knows("arrays"))) {
    if (previous) await send(previous, false);
    previous = part;
  }
  if (previous) await send(previous, true);
}
