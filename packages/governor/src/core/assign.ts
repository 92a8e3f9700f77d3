import {
  limits,
  type AssignedInput,
  type Digest,
  type ObjectId,
  type ServerToGovernor,
  type TaskFailure,
} from "@rain/protocol";
import { isIn, type Attempt, type AttemptIn, type Assignment } from "./attempts.ts";
import { copied, copyFailed } from "./copy.ts";
import type { Machine } from "./machine.ts";
import { toRequest } from "./pool.ts";
import { attemptKey } from "./types.ts";

/** From an assignment to the queue: inputs are brought here, each digest once, whoever wants it. */
type Assign = Extract<ServerToGovernor, { readonly type: "assign" }>;

export function assign(m: Machine, message: Assign): void {
  take(m, message);
  m.early.clear(); // they were for this one
}

function take(m: Machine, message: Assign): void {
  const { session, task, attempt: number } = message;
  const ref = { session, task, attempt: number };
  const known = m.attempts.get(ref);
  if (known) {
    if (isIn(known, "reported")) m.send(known.phase.report);
    return;
  }
  if (m.leaving || m.past.has(attemptKey(ref))) {
    m.reportUnknown(ref, { type: "stopped", ...ref });
    return;
  }
  const problem = misfit(m, message);
  if (problem !== undefined) {
    const failure: TaskFailure = { reason: "internal", message: problem };
    m.reportUnknown(ref, { type: "fail", ...ref, failure, info: {} });
    return;
  }
  const inputs = message.inputs.map(({ object, kind, size, sha256, contentType }) => ({
    object,
    kind,
    size,
    sha256,
    contentType,
  }));
  m.orders += 1;
  const assignment: Assignment = {
    spec: message.spec,
    inputs,
    request: toRequest(message.spec.request),
    order: m.orders,
  };
  const missing = new Set<Digest>();
  const attempt = m.attempts.add(ref, { kind: "fetching", assignment, missing }, m.now);
  for (const input of message.inputs) {
    if (want(m, attempt, input)) missing.add(input.sha256);
  }
  if (missing.size === 0) enqueue(m, attempt, assignment);
}

/** Why this assignment can never run here. */
function misfit(m: Machine, { spec, inputs }: Assign): string | undefined {
  if (inputs.length !== spec.inputs.length) {
    return `the assignment came with ${inputs.length} inputs for the ${spec.inputs.length} of the task`;
  }
  const short = m.pool.shortfalls(toRequest(spec.request));
  if (short.length === 0) return undefined;
  return `the task needs ${short.join(", ")} of governor ${m.config.hello.name}, to which it was assigned`;
}

/** Makes sure that an input's bytes come; answers whether they are still missing. */
function want(m: Machine, attempt: Attempt, input: AssignedInput): boolean {
  const { object, sha256, size, kind, data = m.early.get(sha256), sources } = input;
  const answer = m.holdings.use(sha256, attempt.key);
  if (answer === "present") hold(m, attempt, object, sha256);
  if (answer === "acquire") m.emit({ type: "acquire", sha256, size, kind, data, sources });
  return answer !== "present";
}

/** An input is here: it counts as a copy of that object, and the server is told. */
function hold(m: Machine, attempt: Attempt, object: ObjectId, sha256: Digest): void {
  const ref = { session: attempt.ref.session, object };
  if (m.holdings.hold(ref, sha256)) m.copied.push({ ...ref, sha256 });
}

/** Bytes came in, copied or made by a run: attempts that waited for them go on. */
export function arrived(m: Machine, sha256: Digest, users: readonly string[]): void {
  copied(m, users);
  for (const key of users) {
    const attempt = m.attempts.byKey(key);
    if (!attempt || !isIn(attempt, "fetching")) continue;
    const { assignment, missing } = attempt.phase;
    if (!missing.delete(sha256)) continue;
    for (const input of assignment.inputs)
      if (input.sha256 === sha256) hold(m, attempt, input.object, sha256);
    if (missing.size === 0) enqueue(m, attempt, assignment);
  }
  m.holdings.settle(sha256);
}

/** Longest reason of a missing input that a report may carry, characters. */
const WHY_LENGTH = 4_096;
/** Most objects with the same missing bytes that a report names: it must fit into a message. */
const MISSING_ITEMS = 500;

export function acquireFailed(
  m: Machine,
  sha256: Digest,
  reason: string,
  addresses: readonly string[] | undefined,
): void {
  const why = reason.slice(0, WHY_LENGTH);
  const tried = addresses?.slice(0, limits.triedSources);
  const users = m.holdings.acquireFailed(sha256);
  copyFailed(m, users, why);
  for (const key of users) {
    const attempt = m.attempts.byKey(key);
    if (!attempt || !isIn(attempt, "fetching")) continue;
    const objects = attempt.phase.assignment.inputs.filter((input) => input.sha256 === sha256);
    const ids = [...new Set(objects.map((input) => input.object))].slice(0, MISSING_ITEMS);
    const missing = ids.map((object) => ({ object, why, ...(tried ? { tried } : {}) }));
    m.report(attempt, { type: "starved", ...attempt.ref, missing });
  }
  m.holdings.settle(sha256);
}

const priority = (assignment: Assignment): number => assignment.spec.priority ?? 0;

/** Before it in the queue: a higher priority, then an earlier assignment. */
function enqueue(m: Machine, attempt: Attempt, assignment: Assignment): void {
  m.attempts.move(attempt, { kind: "queued", assignment }, m.now);
  const goesBefore = (other: AttemptIn<"queued">): boolean => {
    const theirs = other.phase.assignment;
    if (priority(theirs) !== priority(assignment)) return priority(theirs) > priority(assignment);
    return theirs.order < assignment.order;
  };
  m.mayStart = true;
  const place = m.queue.findLastIndex(goesBefore) + 1;
  m.queue.splice(place, 0, attempt as AttemptIn<"queued">);
}
