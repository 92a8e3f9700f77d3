import { readdirSync, readFileSync } from "node:fs";
import { crc32 } from "node:zlib";
import { RainError } from "@rain/protocol";
import { DurableState } from "@rain/server/core";
import { applyRepair, exportRecords, inspect, planRepair, type RepairPlan } from "@rain/server/journal-tools";
import { recover } from "../../../packages/server/src/journal/recover.ts";
import { CallbackQueue, MemoryStorage } from "../../support/memory-storage.ts";
import { Mutator } from "../mutate.ts";
import type { Random } from "../random.ts";
import { showBytes, type OpenTarget, type Outcome, type Target } from "../target.ts";

type Files = Map<string, Uint8Array>;
const folder = new URL("../../server/golden-journal/format-1/", import.meta.url);
const CLUSTER = "golden-cluster";
const interesting = [0, 1, 0x10, 0x27, 0x7f, 0x80, 0x90, 0x91, 0xc0, 0xc4, 0xdc, 0xdd, 0xff];

function read(): Files {
  return new Map(
    readdirSync(folder).map((name) => [name, new Uint8Array(readFileSync(new URL(name, folder)))]),
  );
}

/** The journal and the same without its snapshot's segments, so that single segments are met too. */
function changed(files: Files, mutator: Mutator, random: Random): Files {
  const made: Files = new Map(files);
  const name = random.pick([...files.keys()]);
  const bytes = files.get(name) ?? new Uint8Array();
  switch (random.below(16)) {
    case 0:
      made.delete(name);
      break;
    case 1:
      made.set(name, new Uint8Array());
      break;
    case 2: // another one's content
      made.set(name, files.get(random.pick([...files.keys()])) ?? bytes);
      break;
    case 3:
      made.set(`snapshot-${String(random.below(30)).padStart(16, "0")}.snap`, bytes);
      break;
    case 4:
      made.set(`journal-${String(random.below(30)).padStart(16, "0")}.log`, bytes);
      break;
    case 5:
    case 6: // a writer gone wrong: checksums are right, what they guard is not
      made.set(name, resealed(Uint8Array.from(mutator.of(bytes, random))));
      break;
    default:
      made.set(name, Uint8Array.from(mutator.of(bytes, random)));
  }
  return made;
}

/** The frames with checksums that fit whatever stands there. */
function resealed(bytes: Uint8Array): Uint8Array {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 24 + CLUSTER.length + 4; at + 16 <= view.length;) {
    const end = at + 16 + view.readUInt32BE(at);
    if (end > view.length) break;
    view.writeUInt32BE(crc32(view.subarray(at + 8, end)), at + 4);
    at = end;
  }
  return bytes;
}

type Load = { readonly state: string; readonly error?: undefined } | { readonly error: RainError };
function load(storage: MemoryStorage): Load {
  const state = new DurableState();
  try {
    recover(storage, CLUSTER, state);
    return { state: JSON.stringify([...state.dump()]) };
  } catch (error) {
    return { error: refusal(error) };
  }
}

function refusal(error: unknown): RainError {
  if (error instanceof RainError && error.code === "bad-file") return error;
  throw error;
}

function plan(storage: MemoryStorage): RepairPlan | undefined {
  try {
    return planRepair(storage);
  } catch (error) {
    // It must not find its own plan to be wrong.
    const { message } = refusal(error);
    if (message.includes("is damaged at byte") && !message.includes("Nothing before the damage can be kept"))
      throw new Error(`a plan that does not help: ${message}`, { cause: error });
    return undefined;
  }
}

function drain(lines: Iterable<unknown>): void {
  try {
    for (const _ of lines);
  } catch (error) {
    refusal(error);
  }
}

/**
 * Folders of a journal: read or refused, and the tools agree with the server. What a server starts on is a state that
 * the journal once had (checksums that were put right excepted), and so is what a repair leaves.
 */
export const journal: Target = {
  name: "journal",
  open: () => {
    const files = read();
    const once = statesOf(files);
    const mutator = new Mutator([...files.values()], interesting, 16_384);
    const target: OpenTarget = {
      run: (random): Outcome => {
        const queue = new CallbackQueue();
        const made = changed(files, mutator, random);
        const sealed = isSealedAnew(made, files);
        const storage = new MemoryStorage(queue.schedule, made);
        const before = load(storage);
        const seen = inspect(storage, CLUSTER);
        if ((seen.problem === undefined) !== (before.error === undefined))
          throw new Error("a server and the check do not agree");
        drain(exportRecords(storage, CLUSTER));
        const repair = plan(storage);
        if (storage.changes > 0) throw new Error("looking changed something");
        if (before.error === undefined) {
          if (!sealed && !once.has(before.state)) throw new Error("it was read to a state that never was");
          if (repair?.damage !== undefined) throw new Error("a repair of what is sound");
          return "accepted";
        }
        if (repair === undefined) return "refused";
        let failed: unknown;
        applyRepair(storage, repair, (error) => (failed = error));
        queue.drain();
        if (failed !== undefined) throw failed;
        const after = load(storage);
        if (after.error !== undefined) throw new Error(`repaired, and yet: ${after.error.message}`);
        if (!sealed && !once.has(after.state)) throw new Error("repaired to a state that never was");
        return "refused";
      },
      show: (random) =>
        [...changed(files, mutator, random)]
          .filter(([name, bytes]) => bytes !== files.get(name))
          .map(([name, bytes]) => `${name}: ${showBytes(bytes)}`)
          .join("\n"),
    };
    return Promise.resolve(target);
  },
};

/** Every state from the empty one to the last, each after one more frame; but not those that the snapshot covers. */
function statesOf(files: Files): ReadonlySet<string> {
  const states = new Set<string>();
  const note = (some: Files): void => {
    const loaded = load(new MemoryStorage(() => undefined, some));
    if (loaded.error === undefined) states.add(loaded.state);
  };
  note(new Map());
  const names = [...files.keys()].filter((name) => name.startsWith("journal-")).toSorted();
  const snapshot = [...files].filter(([name]) => name.startsWith("snapshot-"));
  for (const [count, name] of names.entries()) {
    const whole = names
      .slice(0, count)
      .map((each): [string, Uint8Array] => [each, files.get(each) ?? new Uint8Array()]);
    const bytes = files.get(name) ?? new Uint8Array();
    for (const size of [0, ...endsOf(bytes)])
      note(new Map([...snapshot, ...whole, [name, bytes.subarray(0, size)]]));
  }
  return states;
}

/** Where the header ends, and each frame. */
function endsOf(bytes: Uint8Array): number[] {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const ends = [24 + CLUSTER.length + 4];
  for (let at = ends[0] ?? 0; at + 16 <= view.length;) {
    at += 16 + view.readUInt32BE(at);
    ends.push(at);
  }
  return ends;
}

/** Is there a frame with a sound checksum that the journal never had? */
function isSealedAnew(made: Files, files: Files): boolean {
  const known = new Set([...files.values()].flatMap(checksums));
  return [...made.values()].flatMap(checksums).some((each) => !known.has(each));
}

function checksums(bytes: Uint8Array): string[] {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: string[] = [];
  for (let at = 24 + CLUSTER.length + 4; at + 16 <= view.length;) {
    const end = at + 16 + view.readUInt32BE(at);
    if (end > view.length) break;
    if (crc32(view.subarray(at + 8, end)) === view.readUInt32BE(at + 4))
      found.push(view.toString("hex", at + 4, at + 16));
    at = end;
  }
  return found;
}
