import { attemptKey } from "@rain/server/core";
import type { Kernel } from "../../../packages/server/src/core/kernel.ts";
import type { LiveGovernor, LiveTask } from "../../../packages/server/src/core/live.ts";
import { meets } from "../../../packages/server/src/core/demand.ts";
import { takesTasks } from "../../../packages/server/src/core/drain.ts";
import { fits, type Amounts } from "../../../packages/server/src/core/resources.ts";
import type { DataObject, Session, Task } from "../../../packages/server/src/core/state.ts";
import type { World } from "../world.ts";

/** What the live state of the server counts along, counted anew. */
export function checkLive(world: World, k: Kernel): void {
  const check = (holds: boolean, rule: string, text: () => string): void => world.check(holds, rule, text);
  const ready = new Map<LiveTask["class"], number>();
  let open = 0;
  for (const session of k.durable.sessions.values()) {
    open += checkSession(k, session, ready, check);
  }
  check(
    open === k.live.tasks.size,
    "live-tasks",
    () => `${k.live.tasks.size} live tasks for ${open} open ones`,
  );
  for (const each of k.live.classes.values()) {
    check(
      each.queue.size === (ready.get(each) ?? 0),
      "ready-queue",
      () => `a queue says ${each.queue.size} tasks, ${ready.get(each) ?? 0} are ready`,
    );
  }
  for (const governor of k.live.governors.values()) checkGovernor(k, governor, check);
  checkPlaces(k, check);
  for (const [object, holders] of k.live.replicas) {
    for (const holder of holders) {
      check(
        holder.replicas.has(object) && k.live.governors.get(holder.id) === holder,
        "replicas",
        () => `${nameOf(object)} on governor ${holder.id}, which does not know it`,
      );
    }
  }
}

/** Where placements look for room is what a walk over all governors finds. */
function checkPlaces(k: Kernel, check: Check): void {
  const open = [...k.live.governors.values()].filter((each) => takesTasks(k, each));
  const isSame = open.length === k.places.open.size && open.every((each) => k.places.open.has(each));
  check(isSame, "places", () => `${k.places.open.size} governors take tasks, and should be ${open.length}`);
  for (const of of k.live.classes.values()) {
    if (of.queue.size === 0) continue;
    const { request, demand } = of;
    const able = open.filter((each) => fits(request, each.capacity) && meets(demand, each.hello));
    const room = able
      .filter((each) => fits(request, each.free))
      .toSorted((a, b) => b.free.cpus - a.free.cpus || a.id - b.id);
    const found = k.places.roomOf(of);
    const names = (list: Iterable<LiveGovernor>): string => [...list].map(({ id }) => id).join();
    check(
      names([...found.able].toSorted((a, b) => a.id - b.id)) === names(able.toSorted((a, b) => a.id - b.id)),
      "places",
      () => `governors ${names(found.able)} are large enough, and should be ${names(able)}`,
    );
    check(
      names(found.some(100)) === names(room),
      "places",
      () => `governors ${names(found.some(100))} have room, and should be ${names(room)}`,
    );
  }
}

type Check = (holds: boolean, rule: string, text: () => string) => void;
const stateOf = ({ session, spec, state }: Task): string => `task ${session.id}/${spec.id} is ${state.kind}`;
const nameOf = (object: DataObject): string => `${object.session.id}/o${object.id}`;

function checkSession(
  k: Kernel,
  session: Session,
  ready: Map<LiveTask["class"], number>,
  check: Check,
): number {
  let open = 0;
  const consumers = new Map<DataObject, number>();
  checkArrays(k, session, ready, consumers, check);
  for (const task of session.tasks.expandedOnes()) {
    const live = k.live.tasks.get(task);
    const isOpen = task.state.kind === "open";
    if (isOpen !== session.open.has(task)) check(false, "open-set", () => stateOf(task));
    if (isOpen !== (live !== undefined)) check(false, "live-tasks", () => stateOf(task));
    if (!live || task.state.kind !== "open") continue;
    open++;
    for (const input of task.inputs) consumers.set(input, (consumers.get(input) ?? 0) + 1);
    checkTask(k, live, task.state.governor, check);
    if (live.phase.kind === "ready") ready.set(live.class, (ready.get(live.class) ?? 0) + 1);
  }
  for (const object of session.objects.expandedOnes()) {
    const count = consumers.get(object) ?? 0;
    if (object.openConsumers !== count)
      check(
        false,
        "open-consumers",
        () => `${nameOf(object)} says ${object.openConsumers} open consumers and has ${count}`,
      );
    checkObject(k, object, check);
  }
  return open;
}

/** Tasks of arrays that are virtual: they are ready, and read what is there. */
function checkArrays(
  k: Kernel,
  session: Session,
  ready: Map<LiveTask["class"], number>,
  consumers: Map<DataObject, number>,
  check: Check,
): void {
  let virtual = 0;
  for (const array of session.tasks.arrays) {
    const name = `array ${session.id}/${array.first}`;
    let count = 0;
    const folded = new Map<string, number>();
    for (const { kind, isReplaced, count: many } of array.folded()) {
      if (kind === "open") count += many;
      else if (!isReplaced) folded.set(kind, (folded.get(kind) ?? 0) + many);
    }
    for (const [kind, many] of array.counts)
      check(many === (folded.get(kind) ?? 0), "virtual", () => `${name} counts ${many} folded ${kind} tasks`);
    check(
      count === array.virtual,
      "virtual",
      () => `${name} says ${array.virtual} virtual tasks, it has ${count}`,
    );
    virtual += count;
    const live = k.live.arrays.get(array);
    check(
      count === 0 || live !== undefined,
      "virtual",
      () => `${name} has virtual tasks that nobody gives out`,
    );
    if (!live) continue;
    ready.set(live.class, (ready.get(live.class) ?? 0) + count);
    for (const id of new Set(array.spec.task.inputs.map(({ object }) => object))) {
      const input = session.objects.there(id);
      check(
        count === 0 || (input !== undefined && k.live.available.has(input)),
        "virtual",
        () => `${name} is ready without o${id}`,
      );
      if (input) consumers.set(input, (consumers.get(input) ?? 0) + count);
    }
  }
  check(
    virtual === session.tasks.virtual,
    "virtual",
    () => `session ${session.id} counts ${session.tasks.virtual} virtual tasks, and has ${virtual}`,
  );
}

function checkTask(k: Kernel, live: LiveTask, governorId: number | undefined, check: Check): void {
  const { task, phase } = live;
  const name = `${task.session.id}/${task.spec.id}`;
  const missing = task.inputs.filter((input) => !k.live.available.has(input)).length;
  switch (phase.kind) {
    case "waiting":
      check(
        phase.missing === missing && missing > 0,
        "missing-count",
        () => `task ${name} waits for ${phase.missing} inputs, ${missing} are missing`,
      );
      check(governorId === undefined, "phase", () => `task ${name} waits and governor ${governorId} has it`);
      break;
    case "ready":
      check(missing === 0, "missing-count", () => `task ${name} is ready, ${missing} inputs are missing`);
      check(
        governorId === undefined,
        "phase",
        () => `task ${name} is ready and governor ${governorId} has it`,
      );
      break;
    case "assigned":
    case "running": {
      const { governor } = phase;
      check(
        governor.id === governorId && k.live.governors.get(governor.id) === governor,
        "phase",
        () => `task ${name} is ${phase.kind} on governor ${governor.id}, durable: ${governorId}`,
      );
      const ref = { session: task.session.id, task: task.spec.id, attempt: task.state.attempt };
      check(governor.attempts.has(attemptKey(ref)), "held", () => `attempt ${attemptKey(ref)} holds nothing`);
      break;
    }
  }
}

function checkObject(k: Kernel, object: DataObject, check: Check): void {
  const { state, producer } = object;
  const isFinished = state.kind === "finished";
  const holders = k.live.replicas.get(object);
  if (holders !== undefined && !isFinished)
    check(false, "replicas", () => `copies of ${nameOf(object)}, ${state.kind}`);
  const isReadable = isFinished && (state.data !== undefined || producer === undefined || hasReader(holders));
  if (isReadable !== k.live.available.has(object))
    check(
      false,
      "available",
      () => `${nameOf(object)} is ${isReadable ? "" : "not "}readable and says otherwise`,
    );
  const isNeeded = object.keep || object.openConsumers > 0;
  if (!isNeeded || object.session.failure) return;
  const needsCopy = isFinished && !state.data && producer !== undefined;
  if (needsCopy && (holders?.size ?? 0) === 0)
    check(
      false,
      "live-holder",
      () => `${nameOf(object)} is needed, and has neither a copy nor a task that makes it`,
    );
  if (object.openConsumers > 0 && !isFinished && !producerIsOpen(object))
    check(
      false,
      "live-producer",
      () => `${nameOf(object)} has open consumers, is ${state.kind}, and its task is not open`,
    );
}

/** Is there a copy that can be read now? */
function hasReader(holders: Iterable<LiveGovernor> = []): boolean {
  for (const { connection, synced } of holders) if (connection !== undefined && synced) return true;
  return false;
}

function producerIsOpen(object: DataObject): boolean {
  const producer = object.producer === undefined ? undefined : object.session.tasks.get(object.producer);
  return producer?.state.kind === "open";
}

function checkGovernor(k: Kernel, governor: LiveGovernor, check: Check): void {
  const name = governor.hello?.name ?? `governor ${governor.id}`;
  const held = { cpus: 0, gpus: 0, memory: 0 };
  const named = new Map<string, number>();
  for (const { request, isAhead } of governor.attempts.values()) {
    if (isAhead) continue; // it waits
    held.cpus += request.cpus;
    held.gpus += request.gpus;
    held.memory += request.memory;
    for (const [each, amount] of request.named) named.set(each, (named.get(each) ?? 0) + amount);
  }
  const isThere = [...governor.ahead].filter(
    (held) => held.isAhead && governor.attempts.get(attemptKey(held)) === held,
  ).length;
  check(
    isThere === governor.ahead.size &&
      isThere === [...governor.attempts.values()].filter(({ isAhead }) => isAhead).length,
    "ahead",
    () => `${name} has ${governor.ahead.size} attempts ahead, of which ${isThere} are there`,
  );
  const count = [...governor.held.values()].reduce((sum, each) => sum + each, 0);
  check(
    count === governor.attempts.size,
    "ahead",
    () => `${name} has ${governor.attempts.size} attempts, its classes say ${count}`,
  );
  const { capacity, free } = governor;
  const compare = (unit: string, has: number, holds: number, left: number): void => {
    check(
      left === has - holds,
      "free-consistent",
      () => `${name} has ${has} ${unit}, attempts hold ${holds}, free says ${left}`,
    );
    if (governor.hello === undefined) return;
    // Reported attempts hold nothing there any more, but count until their reports come, which is before `synced`.
    check(
      (left >= 0 || !governor.synced) && left <= has,
      "free-range",
      () => `${name}: ${left} of ${has} ${unit} are free`,
    );
  };
  for (const unit of ["cpus", "gpus", "memory"] as const)
    compare(unit, capacity[unit], held[unit], free[unit]);
  for (const [each, amount] of named) compare(each, amountOf(capacity, each), amount, amountOf(free, each));
  for (const object of governor.replicas) {
    check(
      k.live.replicas.get(object)?.has(governor) === true,
      "replicas",
      () => `${name} has ${nameOf(object)}, which does not know it`,
    );
  }
}
const amountOf = (amounts: Amounts, name: string): number => amounts.named.get(name) ?? 0;
