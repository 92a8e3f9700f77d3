import {
  asDigest,
  asGovernorId,
  asObjectId,
  asSessionId,
  asTaskId,
  type ClientRequest,
  type GovernorMessage,
  type GovernorMessageType,
  type ReplyOf,
  type RequestOf,
  type RequestType,
  type ServerToClient,
  type ServerToGovernor,
  type SessionView,
  type TaskSpec,
  type TaskView,
} from "@rain/protocol";

/** One message of every kind. Their bytes are in messages.json, which is never computed again. */

const session = asSessionId(3);
const task = asTaskId(17);
const object = asObjectId(40);
const sha256 = asDigest("ab".repeat(32));
const request = { cpus: 1.5, gpus: 0, memory: 8_589_934_592, named: { licence: 1 } };
const spec: TaskSpec = {
  id: task,
  work: {
    type: "execute",
    args: ["train", { input: 0 }, { output: 0 }],
    stdin: 0,
    env: { LANG: "C.UTF-8" },
  },
  inputs: [{ object: asObjectId(39), label: "data", path: "in/data.csv" }],
  outputs: [{ object, label: "model", kind: "directory", contentType: "", keep: true, path: "out" }],
  request,
  name: "größe=3 🌧",
  priority: -5,
  timeoutS: 0.25,
  retries: 2,
  origin: "sweep.mjs:12:5",
};
const failure = { reason: "exit", message: "exit code 2", exitCode: 2, stderr: "no such file\n" } as const;
const taskView: TaskView = {
  task,
  state: "failed",
  spec,
  attempt: 2,
  governor: "box",
  info: {
    startTime: 1_700_000_000_123,
    durationS: 1.5,
    exitCode: 2,
    cpuTimeS: 1,
    maxRssBytes: 5_000_000_000,
  },
  failure,
};
const counts = {
  waiting: 1,
  ready: 0,
  assigned: 0,
  running: 2,
  finished: 70_000,
  failed: 1,
  cancelled: 0,
  aborted: 0,
};
const sessionView: SessionView = {
  session,
  name: "MNIST",
  state: "failed",
  onError: "fail",
  detached: false,
  connected: true,
  counts,
  failure: { task, name: "train", failure, origin: "sweep.mjs:12:5" },
};
const info = { size: 3, sha256, contentType: "text" };

export const requests: { readonly [T in RequestType]: RequestOf<T> } = {
  "session.open": {
    type: "session.open",
    req: 0,
    key: "k".repeat(21),
    name: "MNIST",
    onError: "continue",
    detached: true,
    ttlS: 3_600,
  },
  "session.get": { type: "session.get", req: 12, name: "digits-1" },
  "session.attach": { type: "session.attach", req: 1, session },
  "session.close": { type: "session.close", req: 127, session },
  "session.list": { type: "session.list", req: 128 },
  "session.describe": { type: "session.describe", req: 255, session, from: asTaskId(0), max: 1_000 },
  submit: {
    type: "submit",
    req: 256,
    session,
    key: "submit-1",
    part: 0,
    last: true,
    tasks: [spec],
    constants: [
      {
        id: asObjectId(39),
        kind: "blob",
        label: "data",
        contentType: "text",
        keep: false,
        size: 3,
        sha256,
        data: Uint8Array.of(1, 2, 255),
      },
    ],
  },
  next: { type: "next", req: 65_535, session, from: 70_000 },
  unkeep: { type: "unkeep", req: 65_536, session, objects: [object] },
  fetch: { type: "fetch", req: 4_294_967_295, session, object },
  "task.get": { type: "task.get", req: 4_294_967_296, session, tasks: [task, asTaskId(2_147_483_647)] },
  "object.get": { type: "object.get", req: 2, session, objects: [] },
  cancel: { type: "cancel", req: 3, session, tasks: undefined },
  explain: { type: "explain", req: 4, session, task },
  results: { type: "results", req: 13, session, since: 70_000, instance: "i1", max: 1_000 },
  metrics: { type: "metrics", req: 14, session, task },
  history: { type: "history", req: 15, max: 10_000 },
  "datastore.create": {
    type: "datastore.create",
    req: 16,
    key: "k".repeat(21),
    name: "digits",
    kind: "directory",
    size: 6_000_000_000,
    sha256,
    source: "./größe",
    created: 1_700_000_000_123,
  },
  "datastore.list": { type: "datastore.list", req: 17 },
  "datastore.delete": { type: "datastore.delete", req: 18, name: "digits", version: 2 },
  "cache.list": { type: "cache.list", req: 10, max: 1_000 },
  "cache.clear": { type: "cache.clear", req: 11 },
  "governor.drain": { type: "governor.drain", req: 7, governor: asGovernorId(2) },
  "governor.stop": { type: "governor.stop", req: 8, governor: asGovernorId(2) },
  "server.info": { type: "server.info", req: 5 },
  "server.stop": { type: "server.stop", req: 6, governors: true },
};

const metrics = {
  loss: { last: NaN, min: 0.25, max: Infinity, count: 70_000, step: 12 },
  "größe 🌧": { last: -1, min: -1, max: -1, count: 1 },
};
const points = [
  { name: "loss", value: -Infinity, step: 0.5, at: 1_700_000_000_123.5 },
  { name: "loss", value: 0.25, at: 1_700_000_001_123 },
];
const datastore = {
  name: "digits",
  version: 2,
  kind: "blob",
  size: 6_000_000_000,
  sha256,
  source: "digits.csv",
  created: 1_700_000_000_123,
} as const;
const attributes = { "größe 🌧": [1, -2.5, null, true, "x"], deep: { empty: {} } };
const builtIn = (id: number, work: TaskSpec["work"], parts: Partial<TaskSpec>): TaskSpec => ({
  id: asTaskId(id),
  work,
  inputs: [],
  outputs: [],
  request,
  ...parts,
});
const made = (id: number, kind: "blob" | "directory"): TaskSpec["outputs"][number] => ({
  object: asObjectId(id),
  label: "output",
  kind,
  contentType: "",
  keep: false,
});
const taken = (id: number): TaskSpec["inputs"][number] => ({ object: asObjectId(id) });

/** Messages of kinds that are above already, with parts that came later. */
export const laterMessages: {
  readonly request: RequestOf<"submit">;
  readonly finish: Extract<GovernorMessage, { type: "finish" }>;
} = {
  request: {
    type: "submit",
    req: 1,
    session,
    key: "submit-2",
    part: 0,
    last: true,
    tasks: [
      builtIn(20, { type: "load", path: "/data/größe" }, { outputs: [made(50, "directory")] }),
      builtIn(21, { type: "store", path: "/data/out" }, { inputs: [taken(50)] }),
      builtIn(
        22,
        { type: "makeDirectory", paths: ["a/b", "c"] },
        { inputs: [taken(50), taken(39)], outputs: [made(51, "directory")] },
      ),
      builtIn(
        23,
        { type: "sliceDirectory", path: "a/b/" },
        { inputs: [taken(51)], outputs: [{ ...made(52, "directory"), user: attributes }] },
      ),
      {
        ...spec,
        id: asTaskId(24),
        inputs: [{ object: asObjectId(39), path: "x", contentType: "text" }],
        outputs: [],
        user: attributes,
      },
    ],
    constants: [
      {
        id: asObjectId(39),
        kind: "directory",
        label: "tree",
        contentType: "",
        keep: true,
        size: 70_000,
        sha256,
        user: attributes,
      },
    ],
  },
  finish: {
    type: "finish",
    session,
    task,
    attempt: 2,
    outputs: [{ object, size: 3, sha256, contentType: "text", user: attributes }],
    info: { startTime: 1_700_000_000_123, user: attributes, debug: "first\nlast" },
  },
};

export const replies: { readonly [T in RequestType]: ReplyOf<T> } = {
  "session.open": { session },
  "session.get": {
    view: { ...sessionView, unique: true, parallelism: 8, maxFails: 3, created: 1_700_000_000_123 },
    user: { run: { v: 1, kind: "sweep", words: ["--lr", "[0.1,0.2]"] } },
  },
  "session.attach": sessionView,
  "session.close": {},
  "session.list": { sessions: [sessionView] },
  "session.describe": {
    tasks: [taskView],
    objects: [
      { object, label: "model", kind: "directory", state: "finished", keep: true, producer: task, info },
    ],
    next: asTaskId(18),
  },
  submit: {},
  next: {
    from: 70_000,
    items: [
      { task, state: "failed", failure },
      { task: asTaskId(18), state: "aborted", cause: task },
    ],
    outstanding: 3,
  },
  unkeep: {},
  fetch: { kind: "blob", info, data: Uint8Array.of(97, 98, 99) },
  "task.get": { tasks: [] },
  "object.get": { objects: [{ object, label: "", kind: "blob", state: "pending", keep: false }] },
  cancel: {},
  explain: { state: "ready", lines: ["no governor has 2 gpus"] },
  results: {
    rows: [
      {
        task,
        state: "failed",
        attempt: 2,
        name: "größe=3 🌧",
        user: attributes,
        governor: "box",
        info: { ...taskView.info, metrics, params: { lr: 0.5 }, cost: 0.125 },
        failure,
        replaces: asTaskId(16),
        replacedBy: asTaskId(18),
        outputs: [{ object, label: "model", kind: "directory", state: "failed" }],
      },
      {
        task: asTaskId(18),
        state: "running",
        attempt: 1,
        metrics,
        outputs: [{ object, label: "", kind: "blob", state: "finished", size: 6_000_000_000 }],
      },
      { task: asTaskId(19), state: "finished", attempt: 0, info: { cached: true }, outputs: [] },
    ],
    cursor: 70_001,
    instance: "i1",
    more: true,
    counts,
  },
  metrics: { attempt: 2, points, params: { lr: 0.5 } },
  history: {
    items: [
      { session, name: "digits-1", created: 1_700_000_000_123, counts, user: { run: { v: 1 } } },
      { session, name: "", counts },
    ],
  },
  "datastore.create": { version: 70_000 },
  "datastore.list": { datastores: [datastore] },
  "datastore.delete": { removed: 2 },
  "cache.list": {
    entries: [
      { session, task, name: "train", size: 6_000_000_000, hits: 3 },
      { session, task: asTaskId(18), size: 0, hits: 0 },
    ],
    count: 100_000,
    bytes: 7_000_000_000,
  },
  "cache.clear": { removed: 100_000 },
  "governor.drain": {},
  "governor.stop": {},
  "server.info": {
    version: "0.1.0",
    clusterId: "c1",
    instance: "i1",
    uptimeS: 12.75,
    governors: [
      {
        governor: asGovernorId(1),
        name: "box",
        state: "connected",
        capacity: request,
        used: request,
        labels: { zone: "a" },
        tasks: [{ session, task }],
        objects: [{ session, object }],
      },
    ],
    sessions: [],
  },
  "server.stop": {},
};

export const error: ServerToClient = {
  type: "error",
  req: 9,
  error: {
    code: "unknown-task",
    message: "There is no task 3/17.",
    facts: { task: 17, kept: false, governor: null },
  },
};

const ref = { session, task, attempt: 2 };
export const governorMessages: {
  readonly [T in GovernorMessageType]: Extract<GovernorMessage, { type: T }>;
} = {
  register: {
    type: "register",
    identity: "identity-1",
    incarnation: "incarnation-1",
    name: "box",
    dataUrl: "http://127.0.0.1:7211",
    capacity: request,
    labels: {},
    attempts: [{ ...ref, running: true }],
  },
  holding: { type: "holding", objects: [{ session, object, sha256 }], done: true },
  started: { type: "started", ...ref, at: 1_700_000_000_123 },
  finish: {
    type: "finish",
    ...ref,
    outputs: [{ object, size: 3, sha256, contentType: "json", data: Uint8Array.of(123, 125, 10) }],
    info: { startTime: 1_700_000_000_123.5, durationS: 0 },
  },
  "finish.batch": {
    type: "finish.batch",
    session,
    tasks: [17, 18, 70_000],
    attempts: [2, 1, 1],
    measures: {
      startTime: [1_700_000_000_123.5, 1_700_000_000_124, 3],
      durationS: [0.25, 1, 2.5],
      exitCode: 0,
    },
    outputs: [
      [{ object, size: 3, sha256, contentType: "json", data: Uint8Array.of(123, 125, 10) }],
      [],
      [{ object: asObjectId(41), size: 6_000_000_000, sha256, contentType: "" }],
    ],
  },
  fail: {
    type: "fail",
    ...ref,
    failure: { reason: "signal", message: "killed", signal: "SIGKILL" },
    info: {},
  },
  metrics: { type: "metrics", ...ref, from: 70_000, points, params: { lr: 0.5 } },
  stopped: { type: "stopped", ...ref },
  starved: { type: "starved", ...ref, missing: [{ object, why: "no holder answers" }] },
  uncopied: { type: "uncopied", objects: [{ session, object, why: "the disk is full" }] },
  heartbeat: { type: "heartbeat", loopDelayMs: 3.5 },
  leaving: { type: "leaving" },
};

export const toGovernor: {
  readonly [T in ServerToGovernor["type"]]: Extract<ServerToGovernor, { type: T }>;
} = {
  registered: {
    type: "registered",
    governor: asGovernorId(1),
    epoch: 4,
    heartbeatMs: 2_000,
    leaseMs: 15_000,
    ticketKey: new Uint8Array(32).fill(7),
  },
  refused: {
    type: "refused",
    error: { code: "identity-in-use", message: "Another governor has this identity." },
  },
  assign: {
    type: "assign",
    ...ref,
    spec,
    inputs: [
      {
        object: asObjectId(39),
        kind: "blob",
        size: 6_000_000_000,
        sha256,
        contentType: "",
        sources: [{ url: "/rain/v1/blobs/ab", ticket: "t" }],
      },
    ],
  },
  "assign.batch": {
    type: "assign.batch",
    session,
    groups: [
      {
        spec: { ...spec, inputs: [{ object: asObjectId(39), path: "in" }] },
        tasks: [17, 18],
        attempts: 1,
        objects: [40, 41],
        own: [{}, { work: { type: "execute", args: ["other"] }, name: "other", user: { lr: 0.5 } }],
        inputs: [
          [{ object: asObjectId(39), kind: "blob", size: 1, sha256, contentType: "", sources: [] }],
          [{ object: asObjectId(38), kind: "blob", size: 1, sha256, contentType: "", sources: [] }],
        ],
      },
      {
        spec: { id: asTaskId(19), work: { type: "concat" }, inputs: [], outputs: [], request },
        tasks: [19, 20, 70_000],
        attempts: [1, 2, 1],
      },
    ],
  },
  cancel: { type: "cancel", ...ref },
  retract: { type: "retract", ...ref },
  ack: { type: "ack", attempts: [ref] },
  "ack.batch": { type: "ack.batch", session, tasks: [17, 70_000], attempts: [2, 1] },
  drop: { type: "drop", objects: [{ session, object }] },
  copy: {
    type: "copy",
    objects: [
      {
        session,
        object,
        kind: "directory",
        size: 70_000,
        sha256,
        sources: [{ url: "http://127.0.0.1:7211/rain/v1/blobs/ab", ticket: "t" }],
      },
    ],
  },
  adopt: { type: "adopt", objects: [{ session, object, sha256 }] },
  bytes: { type: "bytes", objects: [{ sha256, data: new Uint8Array([1, 2, 3]) }] },
  stop: { type: "stop" },
};

/** Fields that came after the first vectors, which are never changed. */
/** Answers with what only newer peers understand. */
export const laterReplies: { readonly [name: string]: ReplyOf<"next"> } = {
  "next in columns": {
    from: 70_000,
    items: [],
    columns: {
      tasks: Uint8Array.of(17, 0, 0, 0, 18, 1, 0, 0, 255, 255, 255, 127, 0, 0, 1, 0, 19, 0, 0, 0),
      states: [
        ["finished", 2],
        ["failed", 1],
        ["aborted", 1],
        ["cancelled", 1],
      ],
      failures: [failure],
      causes: [task],
    },
    outstanding: 3,
  },
};

export const laterFields: {
  readonly requests: Readonly<Record<string, ClientRequest>>;
  readonly governor: Readonly<Record<string, GovernorMessage>>;
  readonly toGovernor: Readonly<Record<string, ServerToGovernor>>;
} = {
  toGovernor: {
    "registered, with batches": {
      type: "registered",
      governor: asGovernorId(1),
      epoch: 4,
      heartbeatMs: 2_000,
      leaseMs: 15_000,
      ticketKey: new Uint8Array(32).fill(7),
      batch: true,
    },
    "drop of a version": { type: "drop", objects: [{ session, object, sha256 }] },
  },
  requests: {
    "session.open of a run": {
      ...requests["session.open"],
      unique: true,
      parallelism: 8,
      maxFails: 3,
      created: 1_700_000_000_123,
      user: { run: { v: 1, seed: 7 } },
    },
    "next in columns": { type: "next", req: 18, session, from: 70_000, columns: true },
    "cancel of ranges": {
      type: "cancel",
      req: 19,
      session,
      tasks: [task],
      ranges: [
        [asTaskId(70_000), 1_000_000],
        [asTaskId(2_147_483_640), 7],
      ],
    },
    "session.get by number": { type: "session.get", req: 12, session },
    "submit of a trial": {
      type: "submit",
      req: 1,
      session,
      key: "submit-5",
      part: 0,
      last: true,
      tasks: [
        {
          id: task,
          work: { type: "execute", args: ["a"], env: { RAIN_DATASTORE: { input: 1 } } },
          inputs: [
            { object: asObjectId(39), path: ".", write: true },
            { object: asObjectId(38), path: "data", shared: true },
          ],
          outputs: [{ ...made(50, "directory"), capture: "files" }],
          request,
          metrics: true,
          replaces: asTaskId(16),
        },
      ],
      constants: [],
    },
    "submit of arrays": {
      type: "submit",
      req: 1,
      session,
      key: "submit-6",
      part: 0,
      last: true,
      tasks: [],
      constants: [],
      arrays: [
        {
          first: task,
          count: 3,
          objects: object,
          task: {
            work: { type: "execute", args: ["train", "--seed", "1"], env: { RAIN_TRIAL: "0", LANG: "C" } },
            inputs: [{ object: asObjectId(39), path: "data" }],
            outputs: [
              { label: "stdout", kind: "blob", contentType: "", keep: true, capture: "stdout" },
              { label: "model", kind: "blob", contentType: "", keep: false, path: "model" },
            ],
            request,
            name: "train-0",
            user: { lr: 0.1, trial: 0 },
          },
          vary: [
            { at: ["args", 2], values: ["1", "20", "300"] },
            { at: ["env", "RAIN_TRIAL"], range: { from: 0, step: 1 } },
            { at: ["name"], range: { from: 0, step: 10, prefix: "train-" } },
            { at: ["user", "lr"], values: [0.1, 0.2, null] },
            { at: ["user", "trial"], range: { from: 0, step: 1 } },
            { at: ["input", 0], range: { from: 39, step: -1 } },
          ],
        },
      ],
    },
    "submit of a task with cache": {
      type: "submit",
      req: 1,
      session,
      key: "submit-4",
      part: 0,
      last: true,
      tasks: [
        { id: task, work: { type: "execute", args: ["a"] }, inputs: [], outputs: [], request, cache: true },
      ],
      constants: [],
    },
    "submit with an environment and labels": {
      type: "submit",
      req: 1,
      session,
      key: "submit-2",
      part: 0,
      last: true,
      tasks: [
        {
          id: task,
          work: { type: "execute", args: ["python"], environment: "torch" },
          inputs: [],
          outputs: [],
          request,
          labels: { instance_type: "4_v100_16gb" },
        },
      ],
      constants: [],
    },
    "submit of an own executor's task": {
      type: "submit",
      req: 1,
      session,
      key: "submit-3",
      part: 0,
      last: true,
      tasks: [
        {
          id: task,
          work: { type: "custom", method: "py/run", config: '{"source":"def f(): return 1"}' },
          inputs: [],
          outputs: [],
          request,
        },
      ],
      constants: [],
    },
    "datastore.list, a page": {
      type: "datastore.list",
      req: 17,
      after: { name: "digits", version: 2 },
      max: 100,
    },
  },
  governor: {
    "register with batches": { ...governorMessages.register, batch: true },
    "register with work ahead": { ...governorMessages.register, ahead: true },
    "register with known messages": { ...governorMessages.register, knows: ["adopt", "copy"] },
    "finish with metrics": { ...governorMessages.finish, metrics: { from: 0, points, params: { lr: 0.5 } } },
    "fail with metrics": {
      ...governorMessages.fail,
      info: { metrics, params: { lr: 0.5 }, cost: 0.125 },
      metrics: { from: 70_000, points: [] },
    },
    "register with executors": { ...governorMessages.register, executors: ["py", "wordcount"] },
    "register with traits": {
      ...governorMessages.register,
      labels: { instance_type: "4_v100_16gb" },
      environments: ["torch", "plain"],
      costPerHour: 2.5,
      relay: true,
    },
    "register with limits": { ...governorMessages.register, memoryLimit: "cgroup", processLimit: 10_000 },
    "starved, with what was tried": {
      type: "starved",
      ...ref,
      missing: [{ object, why: "no holder answers", tried: ["http://127.0.0.1:7211/rain/v1/blobs/ab"] }],
    },
    "fail for want of memory": {
      type: "fail",
      ...ref,
      failure: { reason: "oom-killed", message: "used too much" },
      info: { maxRssBytes: 3e9 },
    },
  },
};
