import type { Kernel } from "./kernel.ts";
import type { LiveGovernor, LiveTask } from "./live.ts";
import type { Room } from "./places.ts";
import type { DataObject } from "./state.ts";

/** Of an object with more copies than this, its holders are not counted one by one. */
const FEW_COPIES = 64;
/** So many of the largest of such objects matter to a choice. */
const WIDE_OBJECTS = 8;
/** So many of the governors with the most room are compared with those that have the bytes. */
const ROOMIEST = 8;

/** How many bytes of a task's inputs lie where. */
interface Bytes {
  readonly of: ReadonlyMap<LiveGovernor, number>;
  /** Objects with many copies, the largest first. */
  readonly wide: readonly { readonly size: number; readonly holders: ReadonlySet<LiveGovernor> }[];
}

/** The governor with room that has the most of the inputs' bytes, then the most free cpus; it looks at some only. */
export function nearest(
  k: Kernel,
  { task }: LiveTask,
  room: Room,
  first: LiveGovernor,
  isFree: (governor: LiveGovernor) => boolean,
): LiveGovernor {
  if (task.inputs.length === 0) return first;
  const bytes = bytesOf(k, task.inputs);
  let best = first;
  let bestBytes = bytesOn(bytes, first);
  const compare = (governor: LiveGovernor): void => {
    if (governor === best || !isFree(governor) || !room.has(governor)) return;
    const there = bytesOn(bytes, governor);
    if (there < bestBytes || (there === bestBytes && !isRoomier(governor, best))) return;
    best = governor;
    bestBytes = there;
  };
  for (const governor of bytes.of.keys()) compare(governor);
  if (bytes.wide.length > 0) for (const governor of room.some(ROOMIEST)) compare(governor);
  return best;
}

const isRoomier = (a: LiveGovernor, b: LiveGovernor): boolean =>
  a.free.cpus !== b.free.cpus ? a.free.cpus > b.free.cpus : a.id < b.id;

function bytesOf(k: Kernel, inputs: readonly DataObject[]): Bytes {
  const of = new Map<LiveGovernor, number>();
  const wide: { size: number; holders: ReadonlySet<LiveGovernor> }[] = [];
  for (const input of inputs) {
    const holders = k.live.replicas.get(input);
    if (input.state.kind !== "finished" || !holders) continue;
    const { size } = input.state;
    if (holders.size > FEW_COPIES) wide.push({ size, holders });
    else for (const holder of holders) of.set(holder, (of.get(holder) ?? 0) + size);
  }
  wide.sort((a, b) => b.size - a.size);
  return { of, wide: wide.slice(0, WIDE_OBJECTS) };
}

function bytesOn({ of, wide }: Bytes, governor: LiveGovernor): number {
  let bytes = of.get(governor) ?? 0;
  for (const { size, holders } of wide) if (holders.has(governor)) bytes += size;
  return bytes;
}
