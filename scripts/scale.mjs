// The server's core at scale, in virtual time: npm run scale -- [--governors 100,1000,10000] [--tasks 10000,...]
// Governors of 16 cpus run tasks of 5 to 15 seconds, of three resource requests, a quarter of them fed by another task.
// No sockets, no disk, no processes: what is measured is the CPU time of the decisions. See docs/scheduling.md.
import { parseArgs } from "node:util";
import { DurableState, ServerCore } from "@rain/server/core";

const { values } = parseArgs({
  options: {
    governors: { type: "string", default: "100,1000,10000" },
    tasks: { type: "string", default: "10000,100000,1000000,10000000" },
    /** Governors for the second table, tasks for the first, tasks that are queued at once. */
    "fixed-governors": { type: "string", default: "1000" },
    "fixed-tasks": { type: "string", default: "400000" },
    queued: { type: "string", default: "100000" },
    ahead: { type: "string", default: "100" },
  },
});
const CPUS = 16;
const SESSION_TASKS = 20_000;
const SUBMIT_TASKS = 1_000;
const HEARTBEAT_MS = 2_000;
/** Reports that come in before the core has its turn to place. */
const BURST = 16;
/** Virtual time goes in steps of this length, ms: events of one step are one list, so a queue of them costs nothing. */
const STEP_MS = 10;
const STEPS = 2_000;
const CLIENT = 1;
const FIRST_GOVERNOR = 2;
const sha256 = "0".repeat(64);

const config = {
  version: "scale",
  clusterId: "scale",
  instance: "scale",
  leaseMs: 15_000,
  heartbeatMs: HEARTBEAT_MS,
  sessionLeaseMs: 300_000,
  crashLimit: 3,
  aheadMs: Number(values.ahead),
};

/** The same numbers every time: xorshift. */
class Chance {
  #state = 88_172_645;
  below(limit) {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (x >>> 0) % limit;
  }
}

class Cluster {
  now = 1_000;
  core = new ServerCore(config, new DurableState(), this.now);
  chance = new Chance();
  /** What happens in each step to come: reports, or the number of a governor for its sign of life. */
  ring = Array.from({ length: STEPS }, () => []);
  step = 0;
  decisions = 0;
  running = 0;
  finished = 0;
  submitted = 0;
  sessions = [];
  keys = 0;
  burst = 0;
  wake = false;
  session = undefined;

  constructor(governors) {
    for (let i = 0; i < governors; i++) {
      const hello = {
        identity: `identity-${i}`,
        incarnation: "1",
        name: `g${i}`,
        dataUrl: `http://g${i}:1`,
        capacity: { cpus: CPUS, gpus: 0, memory: 64e9, named: {} },
        labels: {},
        ahead: true,
      };
      this.say(FIRST_GOVERNOR + i, { type: "register", ...hello, attempts: [] });
      this.say(FIRST_GOVERNOR + i, { type: "holding", objects: [], done: true });
      this.at(this.chance.below(HEARTBEAT_MS), FIRST_GOVERNOR + i);
    }
    this.tick();
  }

  at(delayMs, event) {
    this.ring[(this.step + 1 + Math.floor(delayMs / STEP_MS)) % STEPS].push(event);
  }

  input(input) {
    const { effects, wakeAt } = this.core.handle(input, this.now);
    for (const effect of effects) {
      if (effect.type === "assign") this.assigned(effect);
      else if (effect.type === "error") throw new Error(`the core refused: ${effect.error.message}`);
      else if (effect.type === "reply" && effect.ok.session !== undefined) this.session = effect.ok.session;
    }
    this.wake = wakeAt !== undefined && wakeAt <= this.now;
  }
  say(connection, message) {
    this.input({ type: "governor.message", connection, message });
  }
  ask(request) {
    this.input({ type: "client.request", connection: CLIENT, request: { req: 1, ...request } });
  }
  /** As often as the core asks for it. */
  tick() {
    this.burst = 0;
    do this.input({ type: "tick" });
    while (this.wake);
  }

  assigned({ connection, session, task, attempt, spec }) {
    this.decisions++;
    this.running++;
    const durationS = (5_000 + this.chance.below(10_000)) / 1_000;
    const outputs = spec.outputs.map(({ object }) => ({ object, size: 1e6, sha256, contentType: "" }));
    const message = { type: "finish", session, task, attempt, outputs, info: { durationS } };
    this.at(durationS * 1_000, { connection, message });
  }

  /** Keeps so many tasks in the core until `total` were submitted, and runs to the end. */
  run(total, queued) {
    while (this.finished < total) {
      while (this.submitted < total && this.submitted - this.finished < queued) this.submit(total);
      this.advance();
    }
  }

  submit(total) {
    const last = this.sessions.at(-1);
    if (last === undefined || last.tasks >= SESSION_TASKS) {
      const key = `session-${this.keys++}`;
      this.ask({ type: "session.open", key, name: "s", onError: "fail", detached: true });
      this.sessions.push({ id: this.session, tasks: 0, finished: 0 });
    }
    const session = this.sessions.at(-1);
    const count = Math.min(SUBMIT_TASKS, total - this.submitted);
    const tasks = Array.from({ length: count }, (_, i) => spec(session.tasks + i, i));
    this.ask({ type: "submit", session: session.id, key: `submit-${this.keys++}`, tasks, constants: [] });
    session.tasks += count;
    this.submitted += count;
    if (this.wake) this.tick();
  }

  advance() {
    this.step = (this.step + 1) % STEPS;
    this.now += STEP_MS;
    const events = this.ring[this.step];
    this.ring[this.step] = [];
    for (const event of events) {
      if (typeof event === "number") {
        this.say(event, { type: "heartbeat", loopDelayMs: 0 });
        this.at(HEARTBEAT_MS, event);
        continue;
      }
      this.running--;
      this.finished++;
      this.say(event.connection, event.message);
      this.settled(event.message.session);
      if (++this.burst >= BURST) this.tick();
    }
    this.tick();
  }

  settled(id) {
    const at = this.sessions.findIndex((each) => each.id === id);
    const session = this.sessions[at];
    if (++session.finished < session.tasks || session.tasks < SESSION_TASKS) return;
    this.sessions.splice(at, 1);
    this.ask({ type: "session.close", session: id });
  }
}

const requests = [1, 1, 2, 4].map((cpus) => ({ cpus, gpus: 0, memory: 0, named: {} }));

function spec(id, place) {
  const output = { object: id, label: "out", kind: "blob", contentType: "", keep: false, path: "out" };
  const isFed = place % 4 === 3;
  return {
    id,
    work: { type: "execute", args: ["/bin/work", String(id)] },
    inputs: isFed ? [{ object: id - 1, label: "in", path: "in", write: false }] : [],
    outputs: isFed ? [] : [output],
    request: requests[id % requests.length],
  };
}

function heap() {
  globalThis.gc?.();
  globalThis.gc?.();
  return process.memoryUsage().heapUsed;
}

const list = (name) => values[name].split(",").map(Number);
const cpuUs = () => {
  const { user, system } = process.cpuUsage();
  return user + system;
};

/** Decisions in the steady state: after every governor has work, before the queue is empty. */
function measure(governors, tasks, queued) {
  const empty = heap();
  const cluster = new Cluster(governors);
  const idle = heap();
  const fill = Math.min(queued, tasks);
  while (cluster.submitted < fill) cluster.submit(tasks);
  const bytes = (heap() - idle) / fill;
  const begin = cpuUs();
  cluster.run(tasks, queued);
  const us = (cpuUs() - begin) / cluster.decisions;
  return { governors, tasks, queued: fill, us, bytes, governorBytes: (idle - empty) / governors };
}

function print({ governors, tasks, queued, us, bytes, governorBytes }, first) {
  const cells = [
    governors.toLocaleString("en-US").padStart(9),
    tasks.toLocaleString("en-US").padStart(11),
    queued.toLocaleString("en-US").padStart(9),
    `${us.toFixed(1)} us`.padStart(10),
    (us / first.us).toFixed(2).padStart(6),
    `${Math.round(bytes)}`.padStart(11),
    `${Math.round(governorBytes)}`.padStart(15),
  ];
  console.log(cells.join("  "));
}

function table(title, cases) {
  console.log(
    `\n${title}\ngovernors        tasks     queued  a decision   ratio  bytes/task  bytes/governor`,
  );
  let first;
  for (const [governors, tasks, queued] of cases) {
    const result = measure(governors, tasks, queued);
    first ??= result;
    print(result, first);
  }
}

if (globalThis.gc === undefined) throw new Error("needs node --expose-gc: npm run scale");
measure(100, 40_000, 20_000); // warms up
const fixedTasks = Number(values["fixed-tasks"]);
const fixedGovernors = Number(values["fixed-governors"]);
const queued = Number(values.queued);
table(
  "More governors",
  list("governors").map((governors) => [
    governors,
    Math.max(fixedTasks, 40 * governors),
    Math.max(queued, 40 * governors),
  ]),
);
table(
  "More tasks",
  list("tasks").map((tasks) => [fixedGovernors, tasks, queued]),
);
