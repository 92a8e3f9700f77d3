import type { Kernel } from "./kernel.ts";
import { expectedMs, Mean, type HeldAttempt, type LiveGovernor, type LiveTask } from "./live.ts";
import type { Room } from "./places.ts";
import type { DataObject } from "./state.ts";

/**
 * Where a task is run: by the bytes of its inputs that are missing there, and by how long it would wait for those
 * that have them.
 */

/** Of an object with more copies than this, its holders are not counted one by one. */
const FEW_COPIES = 64;
/** So many of the largest of such objects matter to a choice. */
const WIDE_OBJECTS = 8;
/** So many of the governors with the most room are compared with those that have the bytes. */
const ROOMIEST = 8;
/** So many busy governors, those with the most bytes, are looked at as places to wait. */
const BUSY = 4;
/** Reading less than this takes is not worth a wait. */
const WORTH_MS = 20;
/** A wait must be shorter than reading by this factor: what is known of either is rough. */
const SHORTER = 0.7;
/** A task is not bound to a busy governor when it would wait there for so many times as long as it reads. */
const SOON = 4;
/** Attempts that wait for one governor on account of their inputs, for each that runs there. */
const PER_PLACE = 2;

/** A place for a task. */
export interface Spot {
  readonly governor: LiveGovernor;
  /** There is no room yet: it waits for one that runs. */
  readonly ahead: boolean;
  /** Bytes of its inputs that are not there. */
  readonly missing: number;
  /** It waits there for the bytes; after so long, ms, reading them elsewhere would have been better. */
  readonly stayMs: number;
}

/** How fast inputs come to a governor, by what was seen. */
export class Reading {
  /** Milliseconds a byte. */
  readonly #seen: Mean = new Mean();

  /** An attempt was over so long after it was placed, and ran for so long of that. */
  learn({ missing, since }: HeldAttempt, now: number, runMs: number): void {
    if (missing < LEAST_BYTES) return;
    this.#seen.add(Math.max(0, now - since - runMs) / missing);
  }
  msFor(bytes: number): number {
    return bytes * (this.#seen.count > 0 ? this.#seen.ms : USUAL_MS_PER_BYTE);
  }
}
/** Of fewer bytes, most of the time is something else. */
const LEAST_BYTES = 65_536;
/** 100 MB a second. */
const USUAL_MS_PER_BYTE = 1e-5;

/** How many bytes of a task's inputs lie where. */
interface Bytes {
  readonly all: number;
  readonly of: ReadonlyMap<LiveGovernor, number>;
  /** Objects with many copies, the largest first. */
  readonly wide: readonly { readonly size: number; readonly holders: ReadonlySet<LiveGovernor> }[];
}

/**
 * The governor with room that has the most of the inputs' bytes, then the most free cpus; it looks at some only. Or a
 * busy one that has more of them, when it will have room before they could be read.
 */
export function nearest(
  k: Kernel,
  { task, hasWaited }: LiveTask,
  room: Room,
  first: LiveGovernor,
  isFree: (governor: LiveGovernor) => boolean,
  mayWait: (governor: LiveGovernor) => boolean,
): Spot {
  if (task.inputs.length === 0) return { governor: first, ahead: false, missing: 0, stayMs: 0 };
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
  const missing = bytes.all - bestBytes;
  const readMs = k.reading.msFor(missing);
  const spot = readMs >= WORTH_MS && !hasWaited ? soonest(k, bytes, room, mayWait) : undefined;
  if (spot && spot.ms < readMs * SHORTER)
    return { governor: spot.governor, ahead: true, missing: spot.missing, stayMs: readMs };
  return { governor: best, ahead: false, missing, stayMs: 0 };
}

/** When nobody has room: where a task's inputs could be read while it waits. Undefined when there is nothing to gain. */
export function readAhead(
  k: Kernel,
  { task, hasWaited }: LiveTask,
  room: Room,
  others: readonly LiveGovernor[],
  mayWait: (governor: LiveGovernor) => boolean,
): Spot | undefined {
  if (task.inputs.length === 0 || hasWaited) return undefined;
  const bytes = bytesOf(k, task.inputs);
  if (k.reading.msFor(bytes.all) < WORTH_MS) return undefined;
  const spot = soonest(k, bytes, room, mayWait, others);
  if (!spot) return undefined;
  const { governor, missing } = spot;
  const stayMs = k.reading.msFor(missing);
  const isSoon = spot.ms <= stayMs * SOON;
  return stayMs >= WORTH_MS && isSoon ? { governor, ahead: true, missing, stayMs } : undefined;
}

interface Wait {
  readonly governor: LiveGovernor;
  readonly missing: number;
  readonly ms: number;
}

/** Of busy governors, where the task could start first. */
function soonest(
  k: Kernel,
  bytes: Bytes,
  room: Room,
  mayWait: (governor: LiveGovernor) => boolean,
  others: readonly LiveGovernor[] = [],
): Wait | undefined {
  if (k.config.aheadMs === 0) return undefined;
  const most = [...bytes.of].toSorted((a, b) => b[1] - a[1] || a[0].id - b[0].id).slice(0, BUSY);
  let best: Wait | undefined;
  for (const governor of new Set([...most.map(([holder]) => holder), ...others])) {
    if (!room.able.has(governor) || governor.hello?.ahead !== true || !mayWait(governor)) continue;
    const missing = bytes.all - bytesOn(bytes, governor);
    if (missing > 0 && isReading(governor)) continue;
    const ms = Math.max(waitMs(k, governor, room), k.reading.msFor(missing));
    if (ms < (best?.ms ?? Infinity)) best = { governor, missing, ms };
  }
  return best;
}

/** Those that have room are not all running yet: what would be read beside them slows them down. */
function isReading({ attempts }: LiveGovernor): boolean {
  for (const { missing, started, isAhead } of attempts.values())
    if (missing > 0 && !started && !isAhead) return true;
  return false;
}

/** How long until one more task has room; Infinity where none may wait. */
function waitMs(k: Kernel, { ahead, aheadRoom, attempts, held }: LiveGovernor, room: Room): number {
  const running = (held.get(room) ?? 0) - ahead.size;
  if (running <= 0 || ahead.size >= PER_PLACE * running || (ahead.size > 0 && aheadRoom !== room))
    return Infinity;
  const ends: number[] = [];
  const waiting: number[] = [];
  for (const each of attempts.values()) {
    const ms = each.of ? expectedMs(each.of) : 0;
    if (each.isAhead) waiting.push(ms);
    else if (each.room === room)
      ends.push(Math.max(each.since + k.reading.msFor(each.missing) + ms - k.now, ms * LEAST_LEFT));
  }
  ends.sort((a, b) => a - b);
  for (const ms of waiting) {
    const first = ends.shift() ?? 0;
    ends.push(first + ms);
    ends.sort((a, b) => a - b);
  }
  return ends[0] ?? Infinity;
}
/** Of a run that takes longer than expected, this part is taken to be left. */
const LEAST_LEFT = 0.2;

const isRoomier = (a: LiveGovernor, b: LiveGovernor): boolean =>
  a.free.cpus !== b.free.cpus ? a.free.cpus > b.free.cpus : a.id < b.id;

function bytesOf(k: Kernel, inputs: readonly DataObject[]): Bytes {
  const of = new Map<LiveGovernor, number>();
  const wide: { size: number; holders: ReadonlySet<LiveGovernor> }[] = [];
  let all = 0;
  for (const input of inputs) {
    if (input.state.kind !== "finished" || input.state.data) continue; // the server sends it along
    const { size } = input.state;
    all += size;
    const holders = k.live.replicas.get(input);
    if (!holders) continue;
    if (holders.size > FEW_COPIES) wide.push({ size, holders });
    else for (const holder of holders) of.set(holder, (of.get(holder) ?? 0) + size);
  }
  wide.sort((a, b) => b.size - a.size);
  return { all, of, wide: wide.slice(0, WIDE_OBJECTS) };
}

function bytesOn({ of, wide }: Bytes, governor: LiveGovernor): number {
  let bytes = of.get(governor) ?? 0;
  for (const { size, holders } of wide) if (holders.has(governor)) bytes += size;
  return bytes;
}
