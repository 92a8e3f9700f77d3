import { DurableState, ServerCore } from "@rain/server/core";
import { alternate, median } from "./support/figures.mjs";

// The server's core alone: no sockets, no journal, no other process. It is the limit of everything a server can do.

const TASKS = 100_000;
const CPUS = 64;
const ROUNDS = 3;
const CLIENT = 1;
const GOVERNOR = 2;
const sha256 = "0".repeat(64);

/** @typedef {import("@rain/server/core").ServerRecord} ServerRecord */
/** @typedef {import("@rain/server/core").ServerInput} ServerInput */
/** @typedef {Extract<import("@rain/server/core").ServerEffect, { type: "assign" }>} Assign */

/** A core as the shell runs it: time stands still, so nobody's lease ends. */
class Machine {
  now = 1000;
  durable = new DurableState();
  core = new ServerCore(
    {
      version: "bench",
      clusterId: "bench",
      instance: "bench",
      leaseMs: 15_000,
      heartbeatMs: 2_000,
      sessionLeaseMs: 300_000,
      crashLimit: 3,
      aheadMs: 0,
    },
    this.durable,
    this.now,
  );
  /** @type {ServerRecord[]} */
  records = [];
  /** @type {Assign[]} */
  assigned = [];
  keepRecords = false;
  ticks = 0;

  /** @param {ServerInput} input */
  input(input) {
    const { records, effects, wakeAt } = this.core.handle(input, this.now);
    if (this.keepRecords) for (const record of records) this.records.push(record);
    for (const effect of effects) {
      if (effect.type === "assign") this.assigned.push(effect);
      if (effect.type === "error") throw new Error(`the core refused: ${effect.error.message}`);
    }
    return wakeAt !== undefined && wakeAt <= this.now;
  }

  /** Opens a session and lets a governor in. */
  begin() {
    const hello = {
      identity: "identity-1",
      incarnation: "incarnation-1",
      name: "g",
      dataUrl: "http://127.0.0.1:1",
    };
    const capacity = { cpus: CPUS, gpus: 0, memory: 0, named: {} };
    const register = { type: "register", ...hello, capacity, labels: {}, attempts: [] };
    this.say(register);
    this.say({ type: "holding", objects: [], done: true });
    this.ask({ type: "session.open", key: "session-key", name: "bench", onError: "fail", detached: true });
  }

  /**
   * @param {readonly unknown[]} tasks
   * @param {readonly unknown[]} arrays
   */
  submit(tasks, arrays = []) {
    this.ask({ type: "submit", session: 1, key: "submit-key", tasks, constants: [], arrays });
  }

  /** Until every task has finished: reports of what was assigned, a tick when nothing else waits. */
  drain() {
    let finished = 0;
    for (;;) {
      const assigned = this.assigned;
      this.assigned = [];
      let wake = assigned.length === 0;
      for (const { session, task, attempt, spec } of assigned) {
        finished += 1;
        const outputs = spec.outputs.map(({ object }) => ({ object, size: 0, sha256, contentType: "" }));
        wake = this.say({ type: "finish", session, task, attempt, outputs, info: {} }) || wake;
      }
      if (!wake) throw new Error("the core has work and does not ask for a tick");
      this.ticks += 1;
      if (!this.input({ type: "tick" }) && this.assigned.length === 0) return finished;
    }
  }

  /** @param {object} request */
  ask(request) {
    const whole = { req: 1, ...request };
    this.input(/** @type {any} */ ({ type: "client.request", connection: CLIENT, request: whole }));
  }
  /** @param {object} message */
  say(message) {
    return this.input(/** @type {any} */ ({ type: "governor.message", connection: GOVERNOR, message }));
  }
}

/**
 * As they come from the network: no text or list is shared between two tasks.
 * @param {number} tasks
 */
function makeSpecs(tasks) {
  const request = { cpus: 1, gpus: 0, memory: 0, named: {} };
  return Array.from({ length: tasks }, (_, id) => {
    const output = {
      object: id,
      label: "stdout",
      kind: "blob",
      contentType: "",
      keep: false,
      capture: "stdout",
    };
    const work = { type: "execute", args: ["/bin/echo", `hello ${id}`] };
    return /** @type {unknown} */ (
      JSON.parse(JSON.stringify({ id, work, inputs: [], outputs: [output], request }))
    );
  });
}

function heapBytes() {
  if (globalThis.gc === undefined) throw new Error("needs node --expose-gc");
  globalThis.gc();
  globalThis.gc();
  return process.memoryUsage().heapUsed;
}

/** @param {number} tasks */
function measureMemory(tasks) {
  const start = heapBytes();
  const specs = makeSpecs(tasks);
  const withSpecs = heapBytes();
  const machine = new Machine();
  machine.begin();
  machine.submit(specs);
  const withQueue = heapBytes();
  machine.drain();
  const withFinished = heapBytes();
  // The core keeps the specs, so they count as its own; the list itself is small.
  return {
    specs: (withSpecs - start) / tasks,
    queued: (withQueue - start) / tasks,
    finished: (withFinished - start) / tasks,
  };
}

/** @param {number} tasks */
function cyclesASecond(tasks) {
  const machine = new Machine();
  machine.begin();
  machine.submit(makeSpecs(tasks));
  const begin = performance.now();
  const finished = machine.drain();
  const seconds = (performance.now() - begin) / 1000;
  if (finished !== tasks) throw new Error(`${finished} of ${tasks} tasks finished`);
  return tasks / seconds;
}

/**
 * The same for one array of tasks without outputs: dispatches and finishes a second.
 * @param {number} count
 */
export function arrayCyclesASecond(count) {
  const machine = new Machine();
  machine.begin();
  const request = { cpus: 1, gpus: 0, memory: 0, named: {} };
  const work = { type: "execute", args: ["/bin/true"] };
  const task = { work, inputs: [], outputs: [], request };
  machine.submit([], [{ first: 0, count, objects: 0, task, vary: [] }]);
  const begin = performance.now();
  const finished = machine.drain();
  if (finished !== count) throw new Error(`${finished} of ${count} tasks finished`);
  return count / ((performance.now() - begin) / 1000);
}

/**
 * The durable half of the same cycles, which is also what a restart does.
 * @param {number} tasks
 */
function replaysASecond(tasks) {
  const machine = new Machine();
  machine.keepRecords = true;
  machine.begin();
  machine.submit(makeSpecs(tasks));
  const submitted = machine.records;
  machine.records = [];
  machine.drain();
  const durable = new DurableState();
  for (const record of submitted) durable.apply(record);
  const begin = performance.now();
  for (const record of machine.records) durable.apply(record);
  return tasks / ((performance.now() - begin) / 1000);
}

/** @type {import("./support/child.mjs").Benchmark} */
const benchmark = {
  name: "core",
  what: "the server's core alone: dispatch and finish of 100,000 tasks, bytes a task",
  run: async ({ quick }) => {
    const tasks = quick ? TASKS / 100 : TASKS;
    cyclesASecond(tasks); // warms up
    const { cycles, replays } = await alternate(quick ? 1 : ROUNDS, {
      cycles: () => cyclesASecond(tasks),
      replays: () => replaysASecond(tasks),
    });
    const bytes = measureMemory(tasks);
    const limit = { name: "its records applied only", value: median(replays) };
    const specs = { name: "the bare specs", value: bytes.specs };
    const note = `${tasks.toLocaleString("en-US")} independent tasks, one governor of ${CPUS} cpus, no sockets and no disk`;
    return [
      {
        figure: "dispatch + finish",
        value: median(cycles),
        unit: "tasks/s",
        rounds: cycles,
        peer: limit,
        note,
      },
      { figure: "heap, queued", value: bytes.queued, unit: "bytes/task", rounds: [], peer: specs, note },
      { figure: "heap, finished", value: bytes.finished, unit: "bytes/task", rounds: [], peer: specs, note },
    ];
  },
};
export default benchmark;
