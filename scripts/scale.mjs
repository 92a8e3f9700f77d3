// The server's core at scale, in virtual time: npm run scale -- [--governors 100,1000,10000] [--queued 10000,...]
// Governors of 16 cpus run tasks of 5 to 15 seconds, of three resource requests. The first table: tasks of their own, a
// quarter of them fed by another one; the second: task arrays. No sockets, no disk, no processes: what is measured is the
// CPU time of the decisions, in turn in all cases of a table, the median of the rounds. See docs/scheduling.md.
import { parseArgs } from "node:util";
import { DurableState, ServerCore } from "@rain/server/core";

const { values } = parseArgs({
  options: {
    governors: { type: "string", default: "100,1000,10000" },
    queued: { type: "string", default: "10000,100000,1000000,10000000" },
    /** Of each case. */
    decisions: { type: "string", default: "200000" },
    rounds: { type: "string", default: "5" },
    ahead: { type: "string", default: "100" },
  },
});
/** Governors of the second table; queued tasks of the first, at least 40 for each governor. */
const GOVERNORS = 1_000;
const QUEUED = 100_000;
const CPUS = 16;
const SESSION_TASKS = 20_000;
const SUBMIT_TASKS = 1_000;
/** Arrays of one session. */
const ARRAYS = 4;
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
  sessions = new Map();
  keys = 0;
  burst = 0;
  wake = false;
  session = undefined;

  constructor(governors, queued, arrays) {
    this.queued = queued;
    this.arrays = arrays;
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

  /** Has so many tasks waiting or running. */
  fill() {
    while (this.submitted - this.finished < this.queued) {
      if (this.arrays) this.submitArrays();
      else this.submit();
    }
  }
  run(decisions) {
    for (const end = this.decisions + decisions; this.decisions < end;) {
      this.fill();
      this.advance();
    }
  }

  open() {
    const key = `session-${this.keys++}`;
    this.ask({ type: "session.open", key, name: "s", onError: "fail", detached: true });
    this.sessions.set(this.session, { id: this.session, tasks: 0, finished: 0, isWhole: false });
  }
  submit() {
    if (this.sessions.get(this.session)?.isWhole !== false) this.open();
    const session = this.sessions.get(this.session);
    const tasks = Array.from({ length: SUBMIT_TASKS }, (_, i) => spec(session.tasks + i, i));
    this.ask({ type: "submit", session: session.id, key: `submit-${this.keys++}`, tasks, constants: [] });
    session.tasks += SUBMIT_TASKS;
    session.isWhole = session.tasks >= SESSION_TASKS;
    this.submitted += SUBMIT_TASKS;
    if (this.wake) this.tick();
  }
  /** A tenth of what is queued, as a session. */
  submitArrays() {
    this.open();
    const session = this.sessions.get(this.session);
    const count = Math.ceil(this.queued / 10 / ARRAYS);
    const arrays = requests.map((request, k) => arrayOf(k * count, count, request));
    const key = `submit-${this.keys++}`;
    this.ask({ type: "submit", session: session.id, key, tasks: [], constants: [], arrays });
    session.tasks = ARRAYS * count;
    session.isWhole = true;
    this.submitted += session.tasks;
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
    const session = this.sessions.get(id);
    if (++session.finished < session.tasks || !session.isWhole) return;
    this.sessions.delete(id);
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

function arrayOf(first, count, request) {
  const output = { label: "out", kind: "blob", contentType: "", keep: false, path: "out" };
  const task = {
    work: { type: "execute", args: ["/bin/work", "0"] },
    inputs: [],
    outputs: [output],
    request,
  };
  const vary = [{ at: ["args", 1], range: { from: 0, step: 1 } }];
  return { first, count, objects: first, task, vary };
}

function heap() {
  globalThis.gc?.();
  globalThis.gc?.();
  return process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers;
}
const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];
const cpuUs = () => {
  const { user, system } = process.cpuUsage();
  return user + system;
};

function build({ governors, queued, arrays }) {
  const empty = heap();
  const cluster = new Cluster(governors, queued, arrays);
  const idle = heap();
  cluster.fill();
  const bytes = (heap() - idle) / cluster.submitted;
  return { cluster, governors, queued, bytes, governorBytes: (idle - empty) / governors, us: [] };
}

/** Decisions in the steady state, when every governor has work. */
function round({ cluster, us }, decisions) {
  const begin = cpuUs();
  const before = cluster.decisions;
  cluster.run(decisions);
  us.push((cpuUs() - begin) / (cluster.decisions - before));
}

function table(title, cases, decisions, rounds) {
  const built = cases.map(build);
  for (const each of built) each.cluster.run(Math.max(20_000, each.governors * CPUS)); // warms up, fills governors
  for (let n = 0; n < rounds; n++) for (const each of built) round(each, decisions / rounds);
  console.log(`\n${title}\ngovernors      queued  a decision   ratio  bytes/task  bytes/governor`);
  for (const { governors, queued, us, bytes, governorBytes } of built) {
    const cells = [
      governors.toLocaleString("en-US").padStart(9),
      queued.toLocaleString("en-US").padStart(11),
      `${median(us).toFixed(1)} us`.padStart(11),
      (median(us) / median(built[0].us)).toFixed(2).padStart(7),
      `${Math.round(bytes)}`.padStart(11),
      `${Math.round(governorBytes)}`.padStart(15),
    ];
    console.log(cells.join(" "));
  }
}

const number = (name) => {
  const value = Number(values[name]);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  console.error(`--${name} must be a whole number, not ${values[name]}.`);
  process.exit(2);
};
const list = (name) => values[name].split(",").filter(Boolean).map(Number);
if (globalThis.gc === undefined) throw new Error("needs node --expose-gc: npm run scale");
const [decisions, rounds] = [number("decisions"), number("rounds")];
table(
  "More governors",
  list("governors").map((governors) => ({
    governors,
    queued: Math.max(QUEUED, 40 * governors),
    arrays: false,
  })),
  decisions,
  rounds,
);
table(
  "More tasks",
  list("queued").map((queued) => ({ governors: GOVERNORS, queued, arrays: true })),
  decisions,
  rounds,
);
