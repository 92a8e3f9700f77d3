import type {
  AssignedInput,
  Attempt,
  ClientRequest,
  ConstantSpec,
  CopiedObject,
  Digest,
  Epoch,
  GovernorHello,
  GovernorId,
  GovernorMessage,
  MetricsBatch,
  ObjectId,
  ObjectRef,
  OnError,
  OutputReport,
  ServerToGovernor,
  SessionId,
  TaskArray,
  TaskFailure,
  TaskId,
  TaskInfo,
  TaskSpec,
  UserAttributes,
  WireError,
} from "@rain/protocol";
import type { NewVersion } from "./datastores.ts";
import type { CachedFrom } from "./state.ts";

/** Number of a live connection, given by the shell; never used again. */
export type ConnectionId = number;

// ------------------------------------------------------------------------------------------------------ inputs

/** A submit whose parts the shell has put together. */
export interface Submit {
  readonly type: "submit";
  readonly req: number;
  readonly session: SessionId;
  readonly key: string;
  readonly tasks: readonly TaskSpec[];
  readonly constants: readonly ConstantSpec[];
  readonly arrays?: readonly TaskArray[] | undefined;
}
/** Requests that reach the core: as on the wire, but a submit is whole. */
export type CoreRequest = Exclude<ClientRequest, { type: "submit" }> | Submit;

/** What enters the server's core. `now` is given beside it: milliseconds that never go back. */
export type ServerInput =
  | { readonly type: "client.request"; readonly connection: ConnectionId; readonly request: CoreRequest }
  | { readonly type: "client.gone"; readonly connection: ConnectionId }
  | {
      readonly type: "governor.message";
      readonly connection: ConnectionId;
      readonly message: GovernorMessage;
    }
  | { readonly type: "governor.gone"; readonly connection: ConnectionId }
  /** A holder did not have an object that the shell wanted to read from it for a client. */
  | { readonly type: "replica.missing"; readonly ref: ObjectRef; readonly governor: GovernorId }
  /** Time passed. */
  | { readonly type: "tick" };

// ----------------------------------------------------------------------------------------------------- records

/** Journaled facts. `apply` of them in order makes the durable state. */
export type ServerRecord =
  | {
      readonly type: "session.opened";
      readonly session: SessionId;
      readonly key: string;
      readonly name: string;
      readonly onError: OnError;
      readonly detached: boolean;
      readonly ttlS?: number | undefined;
      readonly unique?: boolean | undefined;
      readonly parallelism?: number | undefined;
      readonly maxFails?: number | undefined;
      readonly created?: number | undefined;
      readonly user?: UserAttributes | undefined;
    }
  | {
      readonly type: "submitted";
      readonly session: SessionId;
      readonly key: string;
      readonly tasks: readonly TaskSpec[];
      readonly constants: readonly ConstantSpec[];
      readonly arrays?: readonly TaskArray[] | undefined;
      /** Its failures so far had stopped the session: they do not stop it again. */
      readonly resumes?: true | undefined;
    }
  | {
      readonly type: "governor.registered";
      readonly governor: GovernorId;
      readonly identity: string;
      readonly incarnation: string;
      readonly name: string;
      readonly epoch: Epoch;
    }
  /** It gets no new tasks; until its process is started anew. */
  | { readonly type: "governor.draining"; readonly governor: GovernorId }
  /** Hint: written before the assignment leaves, synced with the next promise. */
  | AssignedRecord
  | {
      readonly type: "finished";
      readonly session: SessionId;
      readonly task: TaskId;
      readonly attempt: Attempt;
      readonly governor: GovernorId;
      readonly outputs: readonly OutputReport[];
      readonly info: TaskInfo;
      readonly metrics?: MetricsBatch | undefined;
    }
  /** It finished without an attempt: the same task, which may be of a closed session, finished before. */
  | {
      readonly type: "cached";
      readonly session: SessionId;
      readonly task: TaskId;
      readonly from: CachedFrom;
      readonly outputs: readonly OutputReport[];
      /** One governor that has the bytes of each output that is needed and not in the report. */
      readonly copies: readonly { readonly object: ObjectId; readonly governor: GovernorId }[];
      readonly info: TaskInfo;
    }
  | {
      readonly type: "failed";
      readonly session: SessionId;
      readonly task: TaskId;
      readonly failure: TaskFailure;
      readonly info: TaskInfo;
      readonly metrics?: MetricsBatch | undefined;
    }
  /** An attempt ended without a result and the task will be tried again. `counts`: what it counts as. */
  | {
      readonly type: "released";
      readonly session: SessionId;
      readonly task: TaskId;
      readonly attempt: Attempt;
      readonly counts: "crash" | "failure" | "starved" | "nothing";
      readonly why: string;
    }
  /** A finished task runs again, because these outputs of it are needed and lost. */
  | {
      readonly type: "reopened";
      readonly session: SessionId;
      readonly task: TaskId;
      readonly objects: readonly ObjectId[];
      readonly why: string;
    }
  /** An object is lost and its task, settled otherwise than finished, cannot make it again. */
  | { readonly type: "lost"; readonly session: SessionId; readonly object: ObjectId }
  /** `ranges`: tasks of one array each, first and count; those that are open. */
  | {
      readonly type: "cancelled";
      readonly session: SessionId;
      readonly tasks: readonly TaskId[];
      readonly ranges?: readonly (readonly [first: TaskId, count: number])[] | undefined;
    }
  | { readonly type: "unkept"; readonly session: SessionId; readonly objects: readonly ObjectId[] }
  /** The history keeps an item of it. */
  | { readonly type: "session.closed"; readonly session: SessionId }
  /** Hint: points of the task's current attempt. */
  | MetricsRecord
  | ({ readonly type: "datastore.created" } & NewVersion)
  | { readonly type: "datastore.deleted"; readonly name: string; readonly versions: readonly number[] }
  | { readonly type: "cache.cleared" };

export interface AssignedRecord {
  readonly type: "assigned";
  readonly session: SessionId;
  readonly task: TaskId;
  readonly attempt: Attempt;
  readonly governor: GovernorId;
  /** The governor has no room for it yet. */
  readonly ahead?: true | undefined;
  /** The attempt was there, and its first record was lost: nobody knows which bytes its inputs had. */
  readonly adopted?: boolean | undefined;
}
export interface MetricsRecord extends MetricsBatch {
  readonly type: "metrics";
  readonly session: SessionId;
  readonly task: TaskId;
  readonly attempt: Attempt;
}
/** Hints need no sync of their own; every other record is a promise. */
export const isHint = (record: ServerRecord): boolean =>
  record.type === "assigned" || record.type === "metrics";

// ----------------------------------------------------------------------------------------------------- effects

/** An input of an assignment before the shell turns its holders into addresses and tickets. */
export interface DraftInput extends Omit<AssignedInput, "sources"> {
  /** Governors that have the bytes, best first. */
  readonly holders: readonly GovernorId[];
  /** The server's own store has the bytes (an uploaded constant). */
  readonly onServer: boolean;
}

/** An object to be copied, before the shell turns its holders into addresses and tickets. */
export interface DraftCopy extends Omit<CopiedObject, "sources"> {
  readonly holders: readonly GovernorId[];
}

/** What the shell must do, in order, once the step's records are durable. */
export type ServerEffect =
  | { readonly type: "reply"; readonly connection: ConnectionId; readonly req: number; readonly ok: unknown }
  | {
      readonly type: "error";
      readonly connection: ConnectionId;
      readonly req: number;
      readonly error: WireError;
    }
  | {
      readonly type: "send";
      readonly connection: ConnectionId;
      readonly message: Exclude<ServerToGovernor, { type: "assign" | "registered" | "copy" }>;
    }
  /** Accept a governor; the shell adds the ticket key. */
  | {
      readonly type: "registered";
      readonly connection: ConnectionId;
      readonly governor: GovernorId;
      readonly epoch: Epoch;
      readonly dataUrl: string;
      /** It understands messages about many attempts. */
      readonly batch: boolean;
      /** It reads the objects of others through the server. */
      readonly relay: boolean;
    }
  | {
      readonly type: "assign";
      readonly connection: ConnectionId;
      readonly governor: GovernorId;
      readonly session: SessionId;
      readonly task: TaskId;
      readonly attempt: Attempt;
      readonly spec: TaskSpec;
      readonly inputs: readonly DraftInput[];
      /** The array that it is of. */
      readonly array: TaskArray | undefined;
    }
  /** Tell a governor to copy objects; the shell adds the sources. */
  | {
      readonly type: "copy";
      readonly connection: ConnectionId;
      readonly governor: GovernorId;
      readonly objects: readonly DraftCopy[];
    }
  | { readonly type: "close"; readonly connection: ConnectionId }
  /** No session and no datastore uses these uploaded bytes any more. */
  | { readonly type: "blob.remove"; readonly sha256: Digest }
  /** Exit once the effects before this one are done. */
  | { readonly type: "exit" }
  | { readonly type: "log"; readonly level: "info" | "warn" | "error"; readonly text: string };

export interface ServerStep {
  readonly records: readonly ServerRecord[];
  readonly effects: readonly ServerEffect[];
  /** When the core wants a `tick`, at `now` for "as soon as nothing else waits"; undefined for never. */
  readonly wakeAt: number | undefined;
}

export interface ServerConfig {
  readonly version: string;
  readonly clusterId: string;
  /** Random for each start of the process. */
  readonly instance: string;
  readonly leaseMs: number;
  readonly heartbeatMs: number;
  readonly sessionLeaseMs: number;
  readonly crashLimit: number;
  /** A governor is given tasks ahead that take about so long, milliseconds; 0: none. */
  readonly aheadMs: number;
}
export type { GovernorHello };
