import type {
  Attempt,
  Digest,
  Epoch,
  GovernorId,
  ObjectId,
  ObjectKind,
  OnError,
  SessionFailure,
  SessionId,
  TaskFailure,
  TaskId,
  TaskInfo,
  TaskSpec,
  UserAttributes,
} from "@rain/protocol";
import type { Curves } from "./curves.ts";
import type { SettledLog } from "./settled-log.ts";
import type { ObjectTable, TaskTable } from "./tables.ts";
import type { ArrayState, Past } from "./task-array.ts";

/**
 * The durable state: what the journal's records make, and nothing else. Connections, heartbeats, queues and copies
 * are in `live.ts`; they are rebuilt after a restart.
 */
export type DurableTaskState =
  /** Not settled. `attempt` is the last one assigned (0: none), `governor` has it now, absent when nobody does. */
  | {
      readonly kind: "open";
      readonly attempt: Attempt;
      readonly governor: GovernorId | undefined;
      /** It was assigned to wait there for others to end. */
      readonly ahead?: true | undefined;
    }
  | {
      readonly kind: "finished";
      readonly attempt: Attempt;
      readonly governor: GovernorId;
      readonly info: TaskInfo;
      readonly from?: undefined;
    }
  /** It was not run, but took over what another task came to. `attempt` is the last one assigned, as of an open task. */
  | {
      readonly kind: "finished";
      readonly attempt: Attempt;
      readonly governor: undefined;
      readonly info: TaskInfo;
      readonly from: CachedFrom;
    }
  | {
      readonly kind: "failed";
      readonly attempt: Attempt;
      /** Where its last attempt was, and its log files are. */
      readonly governor: GovernorId | undefined;
      readonly failure: TaskFailure;
      readonly info: TaskInfo;
    }
  | { readonly kind: "cancelled"; readonly attempt: Attempt; readonly governor: GovernorId | undefined }
  /** `cause` is the failed or cancelled task whose output can never come. */
  | { readonly kind: "aborted"; readonly attempt: Attempt; readonly cause: TaskId };

/** The task that really ran, for people. */
export interface CachedFrom {
  readonly session: SessionId;
  readonly task: TaskId;
  readonly name?: string | undefined;
}

export class Task {
  readonly session: Session;
  readonly spec: TaskSpec;
  /** The array that it is of. */
  readonly array: ArrayState | undefined;
  state: DurableTaskState;
  /** Attempts that ended by a lost governor, by the program's own failure, for want of an input. */
  crashes: number = 0;
  failures: number = 0;
  starved: number = 0;
  /** It is in the session's settled log as finished (a lost output may have opened it again since). */
  logged: boolean = false;
  /** The task that took its place: it is not counted any more. */
  replacedBy: TaskId | undefined = undefined;
  /** Of its last attempt. */
  curves: Curves | undefined = undefined;
  /** A lost output opened it again: it really runs, whatever the cache says. */
  mustRun: boolean = false;
  /** It failed before its session was taken up again: `maxFails` does not count it any more. */
  excused: boolean = false;
  /** An input was made again since its attempt was assigned: what comes of it may be of the bytes before. */
  inputsChanged: boolean = false;
  /** It is among those that may be folded at the end of the step. */
  isTouched: boolean = false;
  /** What its array has kept of it, and where. */
  folded: { readonly at: number; readonly past: Past } | undefined = undefined;
  #inputs: readonly DataObject[] | undefined;

  constructor(session: Session, spec: TaskSpec, state: DurableTaskState, array?: ArrayState) {
    this.session = session;
    this.spec = spec;
    this.state = state;
    this.array = array;
  }

  /**
   * Distinct objects among the inputs. Kept while it is open only, which is what keeps them from being folded: whoever asks
   * of a settled one (what is there to be made again?) gets objects that may be others when it runs again.
   */
  get inputs(): readonly DataObject[] {
    if (this.#inputs !== undefined) return this.#inputs;
    const inputs = inputsOf(this.session, this.spec);
    if (this.state.kind === "open") this.#inputs = inputs;
    return inputs;
  }
  /** It has settled. */
  forgetInputs(): void {
    this.#inputs = undefined;
  }
}

const noObjects: readonly DataObject[] = [];

/** The distinct objects that a task reads; all of them exist. */
export function inputsOf(
  session: Session,
  spec: Pick<TaskSpec, "inputs"> & { readonly id?: TaskId },
): readonly DataObject[] {
  if (spec.inputs.length === 0) return noObjects;
  const inputs = new Set<DataObject>();
  for (const { object: id } of spec.inputs) {
    const object = session.objects.get(id);
    if (!object) throw new Error(`task ${session.id}/${spec.id} has the input ${id}, which does not exist`);
    inputs.add(object);
  }
  return [...inputs];
}

export type DurableObjectState =
  | { readonly kind: "pending" }
  | {
      readonly kind: "finished";
      readonly size: number;
      readonly sha256: Digest;
      readonly contentType: string;
      /** Small objects live in the server; undefined: on governors, or uploaded to the server. */
      readonly data: Uint8Array | undefined;
      /** Where it was made; undefined for a constant. */
      readonly origin: GovernorId | undefined;
      /** Attributes that its task gave it. */
      readonly user?: UserAttributes | undefined;
    }
  /** Nobody needed it any more. */
  | { readonly kind: "removed" }
  /** Its task failed, was cancelled or aborted. */
  | { readonly kind: "failed"; readonly cause: TaskId };

export interface DataObject {
  readonly session: Session;
  readonly id: ObjectId;
  readonly kind: ObjectKind;
  readonly label: string;
  /** As declared. */
  readonly contentType: string;
  /** Attributes that it was declared with. */
  readonly user: UserAttributes | undefined;
  /** Undefined for a constant. */
  readonly producer: TaskId | undefined;
  keep: boolean;
  state: DurableObjectState;
  /**
   * Open tasks that read it. Not those of an array whose tasks were ready from the submit on: what they read is there as
   * long as they are open.
   */
  readonly consumers: Consumers;
  /** Open tasks that read it, all of them. */
  openConsumers: number;
}

/** A set that takes no memory as long as it is empty. */
class Consumers implements Iterable<Task> {
  #tasks: Set<Task> | undefined;
  get size(): number {
    return this.#tasks?.size ?? 0;
  }
  add(task: Task): void {
    (this.#tasks ??= new Set()).add(task);
  }
  delete(task: Task): void {
    if (this.#tasks?.delete(task) === true && this.#tasks.size === 0) this.#tasks = undefined;
  }
  [Symbol.iterator](): Iterator<Task> {
    return (this.#tasks ?? noTasks)[Symbol.iterator]();
  }
}
const noTasks: readonly Task[] = [];

/** Makes an object that was declared so, of a constant or an output. */
export const newObject = (
  session: Session,
  id: ObjectId,
  declared: Pick<DataObject, "kind" | "label" | "contentType" | "keep"> & {
    readonly user?: UserAttributes | undefined;
  },
  producer: TaskId | undefined,
  state: DurableObjectState,
): DataObject => ({
  session,
  id,
  kind: declared.kind,
  label: declared.label,
  contentType: declared.contentType,
  user: declared.user,
  producer,
  keep: declared.keep,
  state,
  consumers: new Consumers(),
  openConsumers: 0,
});

export interface Session {
  readonly id: SessionId;
  readonly key: string;
  readonly name: string;
  readonly onError: OnError;
  readonly detached: boolean;
  readonly ttlS: number | undefined;
  /** No other session has this name. */
  readonly unique?: boolean | undefined;
  /** Attempts that may hold resources at once. */
  readonly parallelism?: number | undefined;
  /** When so many tasks have failed that are not excused, the open ones are cancelled. */
  readonly maxFails?: number | undefined;
  readonly created?: number | undefined;
  readonly user?: UserAttributes | undefined;
  readonly tasks: TaskTable;
  readonly objects: ObjectTable;
  readonly submitKeys: Set<string>;
  /** Tasks in the order in which they settled: what `next` reads. */
  readonly settled: SettledLog;
  /** Those that are expanded: see `openCount`. */
  readonly open: Set<Task>;
  /** Failed tasks that were not replaced. */
  failed: number;
  /** Those of them that are excused. */
  excused: number;
  failure: SessionFailure | undefined;
}

/** Tasks that have not settled. */
export const openCount = (session: Session): number => session.open.size + session.tasks.virtual;
/** Have failures stopped the session? */
export const isStopped = ({ maxFails, failed, excused }: Session): boolean =>
  maxFails !== undefined && failed - excused >= maxFails;

export interface KnownGovernor {
  readonly id: GovernorId;
  readonly identity: string;
  readonly incarnation: string;
  readonly name: string;
  readonly epoch: Epoch;
  /** Its process, as long as it is the same one, gets no new tasks. */
  readonly draining?: boolean | undefined;
}

/** A session's constant stays until the session closes, so that lost objects can be rebuilt from it. */
export const isNeeded = (object: DataObject): boolean => object.keep || object.openConsumers > 0;

const allowed: Readonly<Record<DurableTaskState["kind"], readonly DurableTaskState["kind"][]>> = {
  open: ["open", "finished", "failed", "cancelled", "aborted"],
  // A lost output opens a finished task again.
  finished: ["open"],
  failed: [],
  cancelled: [],
  aborted: [],
};

/** The one place that changes the state of a task. A transition that is not in the table is a bug, and throws. */
export function moveTask(task: Task, next: DurableTaskState): void {
  if (!allowed[task.state.kind].includes(next.kind)) {
    throw new Error(
      `task ${task.session.id}/${task.spec.id}: no transition from ${JSON.stringify(task.state)} to ${JSON.stringify(next)}`,
    );
  }
  task.state = next;
}
