import type {
  Attempt,
  Digest,
  GovernorHello,
  GovernorId,
  LaterMessage,
  ObjectRef,
  SessionId,
  TaskId,
  TaskState,
} from "@rain/protocol";
import type { Demand } from "./demand.ts";
import type { Room } from "./places.ts";
import type { ReadyArray, ReadyQueue } from "./queue.ts";
import type { Amounts } from "./resources.ts";
import type { Rows } from "./rows.ts";
import type { DataObject, Session, Task } from "./state.ts";
import type { ArrayState } from "./task-array.ts";
import type { ConnectionId } from "./types.ts";
import { Waiting, type Waits } from "./waiting.ts";

/**
 * The volatile state: connections, queues, copies of objects, who waits for what. Never journaled; after a restart it
 * is made from the durable state and from what governors and clients say when they come back.
 */

/** Where an open task is. Leases and heartbeats are of governors, not of tasks. */
export type Phase =
  /** `missing` of its inputs are not available. */
  | { readonly kind: "waiting"; readonly missing: number }
  | { readonly kind: "ready"; readonly since: number }
  | { readonly kind: "assigned"; readonly governor: LiveGovernor; readonly since: number }
  | {
      readonly kind: "running";
      readonly governor: LiveGovernor;
      readonly since: number;
      readonly startTime: number;
    };

const allowed: Readonly<Record<Phase["kind"], readonly Phase["kind"][]>> = {
  waiting: ["waiting", "ready"],
  ready: ["waiting", "assigned"],
  // Back to waiting or ready: the attempt was released.
  assigned: ["running", "waiting", "ready"],
  running: ["running", "waiting", "ready"],
};

export interface LiveTask {
  readonly task: Task;
  readonly session: LiveSession;
  readonly class: ResourceClass;
  phase: Phase;
  /** How long the longest path takes, ms, from this task's end to the end of the graph, as far as is known. */
  level: number;
  /** Age: smaller was submitted earlier. */
  readonly order: number;
  /** Place in the ready queue: see `ReadyQueue`. */
  entry: number;
  /** It waited for a governor that has its inputs: not again. */
  hasWaited: boolean;
  /** It is ready as one of its array's, and has not left the queue since. */
  inArray: boolean;
}

/** Changes the phase of a task and keeps its class's queue and its row right. The only place that does. */
export function movePhase(live: LiveTask, next: Phase): void {
  const from = live.phase.kind;
  if (!allowed[from].includes(next.kind)) {
    const { session, spec } = live.task;
    throw new Error(`task ${session.id}/${spec.id}: no transition from ${from} to ${next.kind}`);
  }
  if (from === "ready" && next.kind !== "ready") live.class.queue.leave(live);
  live.phase = next;
  if (next.kind === "ready" && from !== "ready") live.class.queue.push(live);
  if (next.kind !== from) live.session.rows.show(live.task, next.kind);
}

/** A mean of durations, ms. The last runs count more once there were many. */
export class Mean {
  count = 0;
  ms = 0;
  add(ms: number): void {
    this.count++;
    this.ms += (ms - this.ms) / Math.min(this.count, REMEMBERED_RUNS);
  }
}
const REMEMBERED_RUNS = 100;

/** Tasks of a kind with the same request and the same demand; of one session, when that has a limit of its own. */
export interface ResourceClass {
  readonly request: Amounts;
  /** Labels and an environment that its governor must have; undefined when any will do. */
  readonly demand: Demand | undefined;
  readonly queue: ReadyQueue;
  /** The session whose tasks alone these are: they wait, all of them, while it is full. */
  readonly gate: LiveSession | undefined;
  /** All classes that differ in the kind of their tasks alone have the same shape. */
  readonly shape: string;
  /** Open tasks in it. */
  tasks: number;
  /** Since when its first task found no governor; undefined when it is not blocked. */
  blockedSince: number | undefined;
  /** How long its runs take, milliseconds, rather too long than too short; undefined before the first report. */
  runMs: number | undefined;
  /** The same in the mean, and of all classes. */
  readonly runs: Mean;
  readonly allRuns: Mean;
  /** When its first task was placed, and how long that was ago at the last look: the run has not ended before. */
  firstAt: number | undefined;
  soFarMs: number;
  /** What levels were made with. */
  levelMs: number;
  /** The governor that takes nothing else until the first task fits there, and when it was chosen. */
  reserved: { readonly governor: LiveGovernor | undefined; readonly at: number } | undefined;
  /** Governors with room for it: see `Places`. */
  room: Room | undefined;
}

export function newClass(
  what: Pick<ResourceClass, "request" | "demand" | "queue" | "gate" | "shape" | "allRuns">,
): ResourceClass {
  const none = {
    firstAt: undefined,
    blockedSince: undefined,
    runMs: undefined,
    reserved: undefined,
    room: undefined,
  };
  return { ...what, ...none, tasks: 0, runs: new Mean(), soFarMs: 0, levelMs: 0 };
}

/** Before a run of this kind has ended, it is taken to be as long as others, or as its first run has taken so far. */
export function expectedMs({ runs, allRuns, soFarMs }: ResourceClass): number {
  if (runs.count > 0) return runs.ms;
  return Math.max(allRuns.count > 0 ? allRuns.ms : 1, soFarMs);
}

/** An attempt that a governor has until its report comes; it holds resources there unless it is ahead. */
export interface HeldAttempt extends Waits<HeldAttempt> {
  readonly session: SessionId;
  readonly task: TaskId;
  readonly attempt: Attempt;
  readonly request: Amounts;
  readonly priority: number;
  /** Undefined, both, when its task was settled before the governor told of it. */
  readonly of: ResourceClass | undefined;
  readonly room: Room | undefined;
  /** When it came there, or had room there. */
  since: number;
  /** Bytes of its inputs that were not there when it came to where it had room; 0 for one that waited. */
  missing: number;
  /** Until then it is not given to another governor with room: it waits for bytes that are here. */
  readonly staysUntil: number;
  /** The governor said so. */
  started: boolean;
  /** It was asked for again. */
  retracted: boolean;
}

/** An object that a governor has, and with which bytes. */
type Copy = ObjectRef & { readonly sha256: Digest };

export interface LiveGovernor {
  readonly id: GovernorId;
  readonly identity: string;
  readonly incarnation: string;
  /** Undefined until it registered with this process of the server. */
  hello: GovernorHello | undefined;
  /** Undefined while it is away; it is lost when it stays away for the lease. */
  connection: ConnectionId | undefined;
  /** It has told all the objects that it holds since it registered. */
  synced: boolean;
  /** What it told so far, until then, and is needed: with the bytes that it has. */
  readonly announced: Map<DataObject, Digest>;
  /** What it told so far, until then, and need not keep: see `Copies.drop`. */
  readonly unwanted: Copy[];
  capacity: Amounts;
  free: Amounts;
  readonly attempts: Map<string, HeldAttempt>;
  /** Those of them that wait for others to end, in the order of their coming: they hold nothing. */
  readonly ahead: Waiting<HeldAttempt>;
  /** What all of those ask for; undefined when there are none, or they ask for several things. */
  aheadRoom: Room | undefined;
  /** None of those that are not asked for again has less priority than this; Infinity when there are none. */
  leastAhead: number;
  /** Number of its last change: see `Places`. */
  change: number;
  /** Number of attempts by what they ask for. */
  readonly held: Map<Room | undefined, number>;
  readonly replicas: Set<DataObject>;
  /** When it was last heard of, or the start of its lease. */
  lastHeard: number;
  /** Objects that it was told to copy, from governors that are drained. */
  readonly incoming: Set<DataObject>;
  /** Objects that it could not copy lately: until when it is not asked again. */
  readonly uncopied: Map<DataObject, number>;
  /** Why the last of its objects that was to be copied elsewhere was not. */
  moveProblem: string | undefined;
  /** Bytes that went to it ahead of assignments, as far as they still count at this time. */
  early: { readonly at: number; readonly bytes: number };
  /** Said that it is leaving: gets no more work. */
  leaving: boolean;
  /** It is about to exit, and waits for a while until it is told that nothing keeps it. */
  waits: boolean;
}

/** Does this governor understand a message that not every release does? */
export const knows = ({ hello }: LiveGovernor, message: LaterMessage): boolean =>
  hello?.knows?.includes(message) === true;

/** A governor of which nothing is known but who it is; it becomes useful by registering. */
export function newGovernor(
  who: Pick<LiveGovernor, "id" | "identity" | "incarnation">,
  now: number,
): LiveGovernor {
  const none: Amounts = { cpus: 0, gpus: 0, memory: 0, named: new Map() };
  return {
    id: who.id,
    identity: who.identity,
    incarnation: who.incarnation,
    hello: undefined,
    connection: undefined,
    synced: false,
    early: { at: now, bytes: 0 },
    announced: new Map(),
    unwanted: [],
    capacity: none,
    free: none,
    attempts: new Map(),
    ahead: new Waiting(),
    aheadRoom: undefined,
    leastAhead: Infinity,
    change: -1,
    held: new Map(),
    replicas: new Set(),
    lastHeard: now,
    incoming: new Set(),
    uncopied: new Map(),
    moveProblem: undefined,
    leaving: false,
    waits: false,
  };
}

export interface Waiter {
  readonly connection: ConnectionId;
  readonly req: number;
}

/** Who waits for the settled log from an entry on. */
export interface NextWaiter extends Waiter {
  readonly from: number;
  readonly columns: boolean;
}

export interface LiveSession {
  readonly connections: Set<ConnectionId>;
  /** Since when no client is connected. */
  orphanSince: number;
  /** Parked `next` requests. */
  readonly next: NextWaiter[];
  readonly rows: Rows;
  /** How many of its attempts may hold resources at once; undefined: any number. */
  readonly parallelism: number | undefined;
  /** How many do. */
  held: number;
  /** Some of its tasks use what others made. */
  isLinked: boolean;
}

export const isFull = ({ parallelism, held }: LiveSession): boolean =>
  parallelism !== undefined && held >= parallelism;

export class Live {
  readonly tasks: Map<Task, LiveTask> = new Map();
  readonly sessions: Map<Session, LiveSession> = new Map();
  readonly governors: Map<GovernorId, LiveGovernor> = new Map();
  readonly byConnection: Map<ConnectionId, LiveGovernor> = new Map();
  readonly classes: Map<string, ResourceClass> = new Map();
  /** How many kinds of tasks each shape of classes has. */
  readonly kinds: Map<string, number> = new Map();
  /** How long all runs took. */
  readonly runs: Mean = new Mean();
  /** Copies of finished objects on governors. */
  readonly replicas: Map<DataObject, Set<LiveGovernor>> = new Map();
  /** Finished objects whose bytes can be had now. */
  readonly available: Set<DataObject> = new Set();
  /** Parked `fetch` requests. */
  readonly fetches: Map<DataObject, Waiter[]> = new Map();
  /** Ready tasks of arrays: in the queues as one each. */
  readonly arrays: Map<ArrayState, ReadyArray> = new Map();
  /** Number of constants and versions of datastores that use an uploaded blob. */
  readonly blobs: Map<Digest, number> = new Map();
  order = 0;

  /** The state of a task as users see it. */
  stateOf(task: Task): TaskState {
    if (task.state.kind !== "open") return task.state.kind;
    return this.tasks.get(task)?.phase.kind ?? "waiting";
  }
}
