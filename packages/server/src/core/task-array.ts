import { asTaskId, taskOfArray, type ObjectId, type TaskArray, type TaskId } from "@rain/protocol";
import { ByteWriter, FieldNames, readBytes, Slabs } from "./bytes.ts";
import { Curves, type CurveColumns } from "./curves.ts";
import {
  inputsOf,
  newObject,
  Task,
  type DataObject,
  type DurableObjectState,
  type DurableTaskState,
  type Session,
} from "./state.ts";

/**
 * The durable state of a task array. A task of it is in one of three forms:
 * - **virtual**: nothing has happened to it, or it was cancelled before anything did: it takes no memory at all;
 * - **expanded**: a `Task` with its objects, as any other task;
 * - **folded**: it has settled and nobody needs it: a few bytes.
 * Whoever asks for a task gets it expanded; `fold` takes it back. The form says nothing: what a task is and what
 * becomes of it are the same in each, live and after a restart.
 */
export class ArrayState {
  readonly session: Session;
  readonly spec: TaskArray;
  /**
   * Its tasks were ready from the submit on and stay so until they run, since the server itself has all their inputs.
   * Only then they can be virtual.
   */
  readonly isReady: boolean;
  readonly expanded: Map<number, Task> = new Map();
  /** Tasks that are virtual and open. */
  virtual: number;
  /** How many are neither that nor expanded, by what became of them; without those whose place others took. */
  readonly counts: Map<DurableTaskState["kind"], number> = new Map();
  readonly #pages: (Float64Array | undefined)[] = [];
  readonly #store: FoldStore;

  constructor(session: Session, spec: TaskArray, isReady: boolean, store: FoldStore) {
    this.session = session;
    this.spec = spec;
    this.isReady = isReady;
    this.virtual = spec.count;
    this.#store = store;
  }

  get first(): TaskId {
    return this.spec.first;
  }
  get count(): number {
    return this.spec.count;
  }
  /** Is one of its tasks open? */
  get hasOpen(): boolean {
    if (this.virtual > 0) return true;
    for (const { state } of this.expanded.values()) if (state.kind === "open") return true;
    return false;
  }
  /** Outputs of each task. */
  get width(): number {
    return this.spec.task.outputs.length;
  }
  indexOf(id: TaskId): number | undefined {
    const index = id - this.first;
    return index >= 0 && index < this.count ? index : undefined;
  }
  /** The task that makes this object. */
  indexOfObject(id: ObjectId): number | undefined {
    const index = Math.floor((id - this.spec.objects) / this.width);
    return index >= 0 && index < this.count ? index : undefined;
  }

  formAt(index: number): "virtual" | "swept" | "expanded" | "folded" {
    const code = this.#codeAt(index);
    if (code === VIRTUAL) return "virtual";
    return code === EXPANDED ? "expanded" : code === SWEPT ? "swept" : "folded";
  }
  #codeAt(index: number): number {
    return this.#pages[Math.floor(index / PAGE)]?.[index % PAGE] ?? VIRTUAL;
  }
  #setCode(index: number, code: number): void {
    const at = Math.floor(index / PAGE);
    const page = (this.#pages[at] ??= new Float64Array(PAGE));
    page[index % PAGE] = code;
  }

  /** Runs of tasks that are not expanded, with what became of them. */
  *folded(): Generator<FoldedRun> {
    let run: FoldedRun | undefined;
    let last: number | undefined;
    for (let index = 0; index < this.count; index++) {
      const isEmpty = index % PAGE === 0 && this.#pages[index / PAGE] === undefined;
      const size = isEmpty ? Math.min(PAGE, this.count - index) : 1;
      const code = this.#codeAt(index);
      // Most are as the one before.
      const is = run && code === last ? run : this.kindAt(index);
      last = code;
      if (run && is?.kind === run.kind && is.isReplaced === run.isReplaced) run.count += size;
      else {
        if (run) yield run;
        run = is && { kind: is.kind, isReplaced: is.isReplaced, from: index, count: size };
      }
      index += size - 1;
    }
    if (run) yield run;
  }

  /** What became of a task, and whether another took its place, without expanding it; undefined for one that is expanded. */
  kindAt(
    index: number,
  ): { readonly kind: DurableTaskState["kind"]; readonly isReplaced: boolean } | undefined {
    const code = this.#codeAt(index);
    if (code === EXPANDED) return undefined;
    if (code === VIRTUAL) return { kind: "open", isReplaced: false };
    if (code === SWEPT) return { kind: "cancelled", isReplaced: false };
    return this.#store.kindOf(code);
  }

  /** As `kindAt`, by the number of the task. */
  kindOf(id: TaskId): DurableTaskState["kind"] | undefined {
    return this.kindAt(id - this.first)?.kind;
  }

  /** The task as an object of its own; the same one until it is folded. */
  get(index: number): Task {
    const known = this.expanded.get(index);
    if (known) return known;
    const code = this.#codeAt(index);
    const task = new Task(this.session, taskOfArray(this.spec, index), freshState(), this);
    const { id } = task.spec;
    const past =
      code === VIRTUAL ? undefined : code === SWEPT ? sweptPast(id, this.width) : this.#store.get(code);
    if (past) {
      recall(task, past);
      if (past.replacedBy === undefined) this.#count(past.state.kind, -1);
      // Where it was is remembered, so that it is written again only when it has changed.
      if (code > 0) task.folded = { at: code, past: { ...past, state: task.state } };
    }
    const { outputs } = task.spec;
    for (let k = 0; k < outputs.length; k++) {
      const output = outputs[k];
      if (output === undefined) break;
      const was = past?.outputs[k];
      const object = newObject(this.session, output.object, output, id, was?.state ?? { kind: "pending" });
      object.keep = was?.keep ?? output.keep;
      this.session.objects.add(object);
    }
    this.expanded.set(index, task);
    this.#setCode(index, EXPANDED);
    this.session.tasks.touch(task);
    if (code === VIRTUAL) {
      this.#countVirtual(-1);
      this.session.open.add(task);
    }
    this.session.tasks.expanded(task);
    return task;
  }
  #count(kind: DurableTaskState["kind"], by: number): void {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + by);
  }
  #countVirtual(by: number): void {
    this.virtual += by;
    this.session.tasks.virtual += by;
  }

  /** Does a smaller form say all that there is to say of this task? */
  canFold(task: Task): boolean {
    if (this.expanded.get(task.spec.id - this.first) !== task || task.excused) return false;
    const outputs = objectsOf(task);
    return task.state.kind === "open" ? this.isReady && isFresh(task, outputs) : outputs.every(isOver);
  }
  /** Takes a task that `canFold` back. */
  fold(task: Task): void {
    const index = task.spec.id - this.first;
    const outputs = objectsOf(task);
    if (task.state.kind === "open") {
      this.#setCode(index, VIRTUAL);
      this.#countVirtual(1);
      this.session.open.delete(task);
    } else {
      const { replacedBy, folded } = task;
      if (replacedBy === undefined) this.#count(task.state.kind, 1);
      const isSame = folded !== undefined && isAsBefore(task, outputs, folded.past);
      const past = isSame ? folded.past : pastOf(task, outputs);
      const isSwept =
        replacedBy === undefined && task.state.kind === "cancelled" && this.#isSwept(task.spec.id, past);
      if (isSwept) this.#setCode(index, SWEPT);
      else this.#setCode(index, isSame ? folded.at : this.#store.put(past, replacedBy, folded?.at));
    }
    for (const output of outputs) this.session.objects.forget(output);
    this.expanded.delete(index);
  }

  /** Cancels virtual tasks; all from `from` on are. */
  sweep(from: number, count: number): void {
    for (let index = from; index < from + count;) {
      const at = Math.floor(index / PAGE);
      const end = Math.min((at + 1) * PAGE, from + count);
      (this.#pages[at] ??= new Float64Array(PAGE)).fill(SWEPT, index - at * PAGE, end - at * PAGE);
      index = end;
    }
    this.#count("cancelled", count);
    this.#countVirtual(-count);
  }

  /** Open tasks by their number: those that are virtual as runs, as long as they are. */
  *openRuns(
    from: number = 0,
    to: number = this.count,
  ): Generator<Task | { readonly from: number; readonly count: number }> {
    let start = from;
    for (let index = from; index <= to; index++) {
      const code = index < to ? this.#codeAt(index) : EXPANDED;
      if (code === VIRTUAL) {
        // A page without any word of its tasks is all virtual.
        if (index % PAGE === 0 && this.#pages[index / PAGE] === undefined && index + PAGE < to)
          index += PAGE - 1;
        continue;
      }
      if (index > start) yield { from: start, count: index - start };
      start = index + 1;
      const task = index < to && code === EXPANDED ? this.expanded.get(index) : undefined;
      if (task?.state.kind === "open") yield task;
    }
  }

  // -------------------------------------------------------------------------------------------------- snapshots

  /** Tasks that are not virtual, with their codes. */
  *#touched(): Generator<readonly [index: number, code: number]> {
    for (let index = 0; index < this.count; index++) {
      const page = this.#pages[Math.floor(index / PAGE)];
      const code = page?.[index % PAGE] ?? VIRTUAL;
      if (code !== VIRTUAL) yield [index, code];
      if (page === undefined) index += PAGE - 1;
    }
  }

  /** What there is to say of tasks that something has happened to, in lists of at most `max`; for a snapshot. */
  *dump(max: number): Generator<readonly Told[]> {
    let told: Told[] = [];
    for (const [index, code] of this.#touched()) {
      if (code === SWEPT) continue;
      const past = this.#pastAt(index, code);
      if (past === undefined || this.#isSwept(asTaskId(this.first + index), past)) continue;
      told.push([index, past]);
      if (told.length < max) continue;
      yield told;
      told = [];
    }
    if (told.length > 0) yield told;
  }
  #pastAt(index: number, code: number): Past | undefined {
    const task = this.expanded.get(index);
    if (!task) {
      const { replacedBy: _, ...past } = this.#store.get(code);
      return past;
    }
    const outputs = objectsOf(task);
    return isFresh(task, outputs, false) ? undefined : pastOf(task, outputs);
  }

  /** Was it cancelled before anything happened to it, in an array whose tasks can be virtual? */
  #isSwept(id: TaskId, { state, outputs, ...rest }: Past): boolean {
    if (!this.isReady || state.kind !== "cancelled" || state.attempt > 0 || state.governor !== undefined)
      return false;
    if (Object.values(rest).some((each) => each !== undefined)) return false;
    return outputs.every(
      (each) => each.keep === undefined && each.state.kind === "failed" && each.state.cause === id,
    );
  }
  /** Tasks that were cancelled before anything happened to them: a dump has them in runs. */
  sweptRuns(): [from: number, count: number][] {
    const runs: [number, number][] = [];
    for (const [index, code] of this.#touched()) {
      if (code !== SWEPT && !this.#pastIsSwept(index, code)) continue;
      const last = runs.at(-1);
      if (last && last[0] + last[1] === index) last[1]++;
      else runs.push([index, 1]);
    }
    return runs;
  }
  #pastIsSwept(index: number, code: number): boolean {
    if (code > 0 && this.#store.kindOf(code).kind !== "cancelled") return false;
    const past = this.#pastAt(index, code);
    return past !== undefined && this.#isSwept(asTaskId(this.first + index), past);
  }
  loadSwept(runs: readonly (readonly [from: number, count: number])[]): void {
    for (const [from, count] of runs) {
      const inputs = inputsOf(this.session, this.spec.task);
      let start = from;
      for (let index = from; index <= from + count; index++) {
        if (index < from + count && this.formAt(index) === "virtual") continue;
        this.sweep(start, index - start);
        for (const input of inputs) input.openConsumers -= index - start;
        start = index + 1;
        // Expanded by the task that took its place.
        if (index < from + count) this.load([[index, sweptPast(asTaskId(this.first + index), this.width)]]);
      }
    }
  }

  /** Takes a part of a dump. */
  load(told: readonly Told[]): void {
    for (const [index, past] of told) {
      const task = this.get(index);
      recall(task, past);
      for (const [k, output] of objectsOf(task).entries()) {
        output.state = past.outputs[k]?.state ?? output.state;
        output.keep = past.outputs[k]?.keep ?? task.spec.outputs[k]?.keep ?? false;
      }
      if (task.state.kind === "failed" && task.replacedBy === undefined) {
        this.session.failed++;
        if (task.excused) this.session.excused++;
      }
      if (task.state.kind === "open") {
        // Opened again: its inputs may have to be made again too.
        if (task.mustRun) for (const input of task.inputs) input.consumers.add(task);
        continue;
      }
      this.session.open.delete(task);
      for (const input of task.inputs) {
        input.openConsumers--;
        input.consumers.delete(task);
      }
      task.forgetInputs();
    }
  }
}
interface FoldedRun {
  readonly from: number;
  count: number;
  readonly kind: DurableTaskState["kind"];
  readonly isReplaced: boolean;
}
type Told = readonly [index: number, past: Past];

const PAGE = 256;
const VIRTUAL = 0;
const EXPANDED = -1;
/** Cancelled while it was virtual. */
const SWEPT = -2;

const freshState = (): DurableTaskState => ({ kind: "open", attempt: 0, governor: undefined });

/** What is not in the description of a task: what became of it and of its outputs, which are in their order. */
export interface Past {
  readonly state: DurableTaskState;
  readonly crashes?: number | undefined;
  readonly failures?: number | undefined;
  readonly starved?: number | undefined;
  readonly logged?: true | undefined;
  readonly mustRun?: true | undefined;
  readonly excused?: true | undefined;
  readonly inputsChanged?: true | undefined;
  readonly curves?: CurveColumns | undefined;
  /** `keep`: when it is another one than was asked. */
  readonly outputs: readonly { readonly state: DurableObjectState; readonly keep?: boolean | undefined }[];
  /** Only in memory: after a restart it follows from the task that took its place. */
  readonly replacedBy?: TaskId | undefined;
}

/** A task that was cancelled before anything happened to it, with so many outputs. */
const sweptPast = (id: TaskId, width: number): Past => ({
  state: { kind: "cancelled", attempt: 0, governor: undefined },
  outputs: Array.from({ length: width }, () => ({ state: { kind: "failed", cause: id } })),
});

function pastOf(task: Task, outputs: readonly DataObject[]): Past {
  const { state, crashes, failures, starved, curves } = task;
  const past: Mutable<Past> = { state, outputs: NO_OUTPUTS };
  if (crashes > 0) past.crashes = crashes;
  if (failures > 0) past.failures = failures;
  if (starved > 0) past.starved = starved;
  if (task.logged) past.logged = true;
  if (task.mustRun) past.mustRun = true;
  if (task.excused) past.excused = true;
  if (task.inputsChanged) past.inputsChanged = true;
  if (curves) past.curves = curves.dump();
  if (outputs.length > 0)
    past.outputs = outputs.map(({ state: its, keep }, k) =>
      keep === task.spec.outputs[k]?.keep ? { state: its } : { state: its, keep },
    );
  return past;
}
type Mutable<T> = { -readonly [K in keyof T]: T[K] };
const NO_OUTPUTS: Past["outputs"] = [];

/** States are never changed, but others put in their place. */
function isAsBefore(task: Task, outputs: readonly DataObject[], past: Past): boolean {
  const isSame = task.state === past.state && task.replacedBy === past.replacedBy;
  if (!isSame || (task.curves !== undefined) !== (past.curves !== undefined)) return false;
  if (task.logged !== (past.logged === true) || task.mustRun !== (past.mustRun === true)) return false;
  return outputs.every((output, k) => {
    const was = past.outputs[k];
    return output.state === was?.state && output.keep === (was.keep ?? task.spec.outputs[k]?.keep);
  });
}

function recall(task: Task, past: Past): void {
  const { state, crashes = 0, failures = 0, starved = 0, curves } = past;
  task.state =
    state.kind === "finished" && state.governor === undefined ? { ...state, governor: undefined } : state;
  task.crashes = crashes;
  task.failures = failures;
  task.starved = starved;
  task.logged = past.logged === true;
  task.mustRun = past.mustRun === true;
  task.excused = past.excused === true;
  task.inputsChanged = past.inputsChanged === true;
  task.curves = curves && Curves.load(curves);
  task.replacedBy ??= past.replacedBy;
}

/** Nothing has happened to it. */
function isFresh(task: Task, outputs: readonly DataObject[], withConsumers = true): boolean {
  const { state, spec } = task;
  if (state.kind !== "open" || state.attempt > 0 || state.governor !== undefined) return false;
  if (task.crashes + task.failures + task.starved > 0 || task.logged || task.mustRun) return false;
  if (task.inputsChanged || task.replacedBy !== undefined || task.curves) return false;
  return outputs.every(
    (output, k) =>
      output.state.kind === "pending" &&
      output.keep === spec.outputs[k]?.keep &&
      (!withConsumers || output.openConsumers === 0),
  );
}

/** Nothing more can become of this output but that somebody reads it, and the server itself has what there is to read. */
const isOver = ({ state, openConsumers }: DataObject): boolean =>
  openConsumers === 0 && (state.kind !== "finished" || state.data !== undefined) && state.kind !== "pending";

const NO_OBJECTS: readonly DataObject[] = [];
function objectsOf({ session, spec }: Task): readonly DataObject[] {
  if (spec.outputs.length === 0) return NO_OBJECTS;
  return spec.outputs.map(({ object }) => {
    const there = session.objects.there(object);
    if (!there) throw new Error(`task ${session.id}/${spec.id} has no output o${object}`);
    return there;
  });
}

const kinds: readonly DurableTaskState["kind"][] = ["open", "finished", "failed", "cancelled", "aborted"];

/** What is kept of the folded tasks of a session. */
export class FoldStore {
  readonly #fields: FieldNames = new FieldNames();
  readonly #writer: ByteWriter = new ByteWriter(this.#fields);
  readonly #slabs: Slabs = new Slabs();

  put(past: Past, replacedBy: TaskId | undefined, at: number | undefined): number {
    const head = kinds.indexOf(past.state.kind) * 2 + (replacedBy === undefined ? 0 : 1);
    const whole = replacedBy === undefined ? past : { ...past, replacedBy };
    return this.#slabs.put(this.#writer.write(head, whole), at);
  }
  get(at: number): Past {
    return readBytes(this.#slabs.get(at).subarray(1), this.#fields) as Past;
  }
  kindOf(at: number): { readonly kind: DurableTaskState["kind"]; readonly isReplaced: boolean } {
    const head = this.#slabs.head(at);
    return { kind: kinds[head >> 1] ?? "open", isReplaced: head % 2 === 1 };
  }
}
