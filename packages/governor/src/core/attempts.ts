import type { AttemptRef, Digest, Report, TaskSpec } from "@rain/protocol";
import { attemptKey, type Allocation, type ReadyInput } from "./types.ts";
import type { ToldMetrics } from "./metrics.ts";
import type { Request } from "./pool.ts";

/** What an attempt is to do; kept until its report. */
export interface Assignment {
  readonly spec: TaskSpec;
  readonly inputs: readonly ReadyInput[];
  readonly request: Request;
  /** Place in the order of assignments. */
  readonly order: number;
}

/** Why a running attempt is being ended early. */
export type StopCause = "cancel" | "timeout" | "leaving" | "lost";
interface Stopping {
  readonly cause: StopCause;
  /** When TERM becomes KILL, monotonic ms; Infinity once KILL was sent. */
  readonly forceAt: number;
}

export type Phase =
  /** Waits for the bytes of `missing`. */
  | { readonly kind: "fetching"; readonly assignment: Assignment; readonly missing: Set<Digest> }
  /** Has its inputs and waits for resources. */
  | { readonly kind: "queued"; readonly assignment: Assignment }
  | {
      readonly kind: "running";
      readonly assignment: Assignment;
      /** Undefined when its program is over and gave it back. */
      readonly allocation: Allocation | undefined;
      /** Wall clock of the start, ms; undefined while it is being prepared. */
      readonly startedAt: number | undefined;
      /** When its time is over, monotonic ms; Infinity for no limit. */
      readonly deadline: number;
      readonly stopping: Stopping | undefined;
    }
  /** Over; the report is repeated at every registration until it is acknowledged. */
  | { readonly kind: "reported"; readonly report: Report };
export type PhaseOf<K extends Phase["kind"]> = Extract<Phase, { readonly kind: K }>;

export interface Attempt<P extends Phase = Phase> {
  readonly ref: AttemptRef;
  readonly key: string;
  phase: P;
  /** What it has told of its metrics outside its report. */
  metrics: ToldMetrics | undefined;
  /** Its phases so far, for the message of a bug. */
  readonly story: Moment[];
}
/** When an attempt came to a phase, monotonic ms. */
interface Moment {
  readonly now: number;
  readonly phase: Phase;
}

/** The story of an attempt in words. */
export const tellStory = ({ story }: Attempt): string => story.map(describeMoment).join(", ");
function describeMoment({ now, phase }: Moment): string {
  const detail =
    phase.kind === "reported"
      ? ` ${phase.report.type}`
      : phase.kind === "running" && phase.stopping
        ? ` stopping (${phase.stopping.cause})`
        : "";
  return `${Math.round(now)} ms: ${phase.kind}${detail}`;
}
export type AttemptIn<K extends Phase["kind"]> = Attempt<PhaseOf<K>>;

/** What tests and people see of an attempt. */
export interface AttemptView {
  readonly ref: AttemptRef;
  readonly phase: Phase["kind"];
  readonly stopping?: StopCause | undefined;
}

export const isIn = <K extends Phase["kind"]>(attempt: Attempt, kind: K): attempt is AttemptIn<K> =>
  attempt.phase.kind === kind;

/** The only moves there are. A reported attempt ends by being forgotten. */
const moves: Readonly<Record<Phase["kind"], readonly Phase["kind"][]>> = {
  fetching: ["queued", "reported"],
  queued: ["running", "reported"],
  running: ["running", "reported"],
  reported: [],
};
const STORY_LINES = 20;

/** All attempts that the server may still ask about, in the order they came. */
export class Attempts {
  readonly #all = new Map<string, Attempt>();

  get(ref: AttemptRef): Attempt | undefined {
    return this.#all.get(attemptKey(ref));
  }
  byKey(key: string): Attempt | undefined {
    return this.#all.get(key);
  }
  values(): IterableIterator<Attempt> {
    return this.#all.values();
  }
  get size(): number {
    return this.#all.size;
  }

  add(ref: AttemptRef, phase: PhaseOf<"fetching" | "reported">, now: number): Attempt {
    const key = attemptKey(ref);
    const known = this.#all.get(key);
    if (known) throw new Error(`attempt ${key} came twice: ${tellStory(known)}`);
    const { session, task, attempt: number } = ref;
    const attempt: Attempt = {
      ref: { session, task, attempt: number },
      key,
      phase,
      metrics: undefined,
      story: [],
    };
    this.#all.set(key, attempt);
    this.#note(attempt, now);
    return attempt;
  }

  /** The one place where an attempt changes its phase. An unknown move is a bug: it throws with the attempt's story. */
  move(attempt: Attempt, phase: Phase, now: number): void {
    const from = attempt.phase.kind;
    if (!moves[from].includes(phase.kind) || this.#all.get(attempt.key) !== attempt) {
      const story = tellStory(attempt);
      throw new Error(`attempt ${attempt.key} cannot go from ${from} to ${phase.kind}; its story: ${story}`);
    }
    attempt.phase = phase;
    this.#note(attempt, now);
  }

  /** Forgets a reported attempt. */
  remove(attempt: AttemptIn<"reported">): void {
    this.#all.delete(attempt.key);
  }

  /** Forgets one that nobody counts on any more. */
  abandon(attempt: Attempt): void {
    this.#all.delete(attempt.key);
  }

  #note({ phase, story }: Attempt, now: number): void {
    if (story.length >= STORY_LINES) story.splice(1, 1);
    story.push({ now, phase });
  }
}

export function viewAttempt(attempt: Attempt): AttemptView {
  const { ref, phase } = attempt;
  return { ref, phase: phase.kind, stopping: phase.kind === "running" ? phase.stopping?.cause : undefined };
}
