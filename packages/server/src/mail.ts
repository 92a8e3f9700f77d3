import {
  isSmall,
  limits,
  packAssignments,
  packRefs,
  RainError,
  type AssignedInput,
  type Assignment,
  type AttemptRef,
  type GovernorId,
  type ServerToGovernor,
  type SessionId,
} from "@rain/protocol";
import type { ConnectionId, DraftInput, ServerEffect } from "./core/index.ts";

type AssignEffect = Extract<ServerEffect, { readonly type: "assign" }>;

export interface MailOptions {
  /** Throws RainError "limit-exceeded" when the message is too large. */
  readonly send: (connection: ConnectionId, message: ServerToGovernor) => void;
  /** Turns the holders of an input into addresses with tickets, for the governor that is to read it. */
  readonly address: (input: DraftInput, session: SessionId, reader: GovernorId) => AssignedInput;
  /** An assignment fits into no message: its governor can never be told. */
  readonly onTooLarge: (effect: AssignEffect, error: RainError) => void;
}

interface Assignments {
  readonly kind: "assign";
  readonly session: SessionId;
  readonly effects: AssignEffect[];
  readonly list: Assignment[];
  /** Inline bytes that it may still take. */
  room: number;
}
interface Acks {
  readonly kind: "ack";
  readonly session: SessionId;
  readonly refs: AttemptRef[];
}

/**
 * What is said to governors: in order, but many assignments or acknowledgements in a row become one message, for a
 * governor that understands it. Whoever uses it calls `endTurn` or `flush` when all that belongs together was said.
 */
export class GovernorMail {
  readonly #options: MailOptions;
  /** Connections of governors that understand batches. */
  readonly #batching: Set<ConnectionId> = new Set();
  /** The last message to each, while more may go into it. */
  readonly #open: Map<ConnectionId, Assignments | Acks> = new Map();
  /** Who has assignments among them. */
  readonly #awaited: Set<ConnectionId> = new Set();

  constructor(options: MailOptions) {
    this.#options = options;
  }

  /** A governor was accepted, and said whether it understands batches. */
  registered(connection: ConnectionId, batch: boolean): void {
    if (batch) this.#batching.add(connection);
  }
  gone(connection: ConnectionId): void {
    this.#batching.delete(connection);
    this.#open.delete(connection);
    this.#awaited.delete(connection);
  }

  send(connection: ConnectionId, message: ServerToGovernor): void {
    if (message.type === "ack" && this.#batching.has(connection))
      for (const ref of message.attempts) this.#ack(connection, ref);
    else {
      this.#close(connection);
      this.#options.send(connection, message);
    }
  }

  assign(effect: AssignEffect): void {
    const { connection, session, governor, attempt, spec, array } = effect;
    let inputs = NO_INPUTS;
    let bytes = 0;
    if (effect.inputs.length > 0) {
      inputs = effect.inputs.map((input) => this.#options.address(input, session, governor));
      for (const { data } of inputs) bytes += data?.length ?? 0;
    }
    const assignment = { attempt, spec, inputs, array };
    if (!this.#batching.has(connection) || !isSmall(spec)) {
      this.#close(connection);
      return this.#sendOne(effect, assignment);
    }
    let open = this.#open.get(connection);
    if (open?.kind !== "assign" || open.session !== session || isFull(open.list) || open.room < bytes) {
      this.#close(connection);
      open = { kind: "assign", session, effects: [], list: [], room: limits.inlineBytesPerMessage };
      this.#open.set(connection, open);
      this.#awaited.add(connection);
    }
    open.room -= bytes;
    open.effects.push(effect);
    open.list.push(assignment);
  }

  #ack(connection: ConnectionId, ref: AttemptRef): void {
    const open = this.#open.get(connection);
    if (open?.kind === "ack" && open.session === ref.session && !isFull(open.refs)) {
      open.refs.push(ref);
      return;
    }
    this.#close(connection);
    this.#open.set(connection, { kind: "ack", session: ref.session, refs: [ref] });
  }

  /**
   * Says all but acknowledgements: nobody waits for those, so they may go with what is said next, and their governor is
   * not woken for them alone. Answers whether there are any: then somebody must call `flush` after a while.
   */
  endTurn(): boolean {
    for (const connection of this.#awaited) this.#close(connection);
    return this.#open.size > 0;
  }

  /** Says everything. */
  flush(): void {
    for (const connection of [...this.#open.keys()]) this.#close(connection);
  }

  #close(connection: ConnectionId): void {
    const open = this.#open.get(connection);
    if (open === undefined) return;
    this.#open.delete(connection);
    this.#awaited.delete(connection);
    if (open.kind === "assign") return this.#sendAssignments(connection, open);
    const { session, refs } = open;
    this.#options.send(
      connection,
      refs.length === 1 ? { type: "ack", attempts: refs } : { type: "ack.batch", session, ...packRefs(refs) },
    );
  }

  #sendAssignments(connection: ConnectionId, { session, effects, list }: Assignments): void {
    if (list.length > 1) {
      try {
        this.#options.send(connection, { type: "assign.batch", ...packAssignments(session, list) });
        return;
      } catch (error) {
        if (!isTooLarge(error)) throw error;
      }
    }
    for (const [place, effect] of effects.entries()) {
      const assignment = list[place];
      if (assignment) this.#sendOne(effect, assignment);
    }
  }

  #sendOne(effect: AssignEffect, { attempt, spec, inputs }: Assignment): void {
    const { connection, session, task } = effect;
    try {
      this.#options.send(connection, { type: "assign", session, task, attempt, spec, inputs });
    } catch (error) {
      if (!isTooLarge(error)) throw error;
      this.#options.onTooLarge(effect, error);
    }
  }
}

const NO_INPUTS: readonly AssignedInput[] = [];
const isFull = (list: readonly unknown[]): boolean => list.length >= limits.batchItems;
const isTooLarge = (error: unknown): error is RainError =>
  error instanceof RainError && error.code === "limit-exceeded";
