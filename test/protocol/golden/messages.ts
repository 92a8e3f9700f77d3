import {
  asDigest,
  asGovernorId,
  asObjectId,
  asSessionId,
  asTaskId,
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
  "governor.drain": { type: "governor.drain", req: 7, governor: asGovernorId(2) },
  "governor.stop": { type: "governor.stop", req: 8, governor: asGovernorId(2) },
  "server.info": { type: "server.info", req: 5 },
  "server.stop": { type: "server.stop", req: 6, governors: true },
};

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
  fail: {
    type: "fail",
    ...ref,
    failure: { reason: "signal", message: "killed", signal: "SIGKILL" },
    info: {},
  },
  stopped: { type: "stopped", ...ref },
  starved: { type: "starved", ...ref, missing: [{ object, why: "no holder answers" }] },
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
  cancel: { type: "cancel", ...ref },
  retract: { type: "retract", ...ref },
  ack: { type: "ack", attempts: [ref] },
  drop: { type: "drop", objects: [{ session, object }] },
  stop: { type: "stop" },
};

/** Fields that came after the first vectors, which are never changed. */
export const laterFields: {
  readonly requests: Readonly<Record<string, RequestOf<"submit">>>;
  readonly governor: Readonly<Record<string, GovernorMessage>>;
  readonly toGovernor: Readonly<Record<string, ServerToGovernor>>;
} = {
  toGovernor: {
    "drop of a version": { type: "drop", objects: [{ session, object, sha256 }] },
  },
  requests: {
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
  },
  governor: {
    "register with work ahead": { ...governorMessages.register, ahead: true },
    "register with executors": { ...governorMessages.register, executors: ["py", "wordcount"] },
    "register with traits": {
      ...governorMessages.register,
      labels: { instance_type: "4_v100_16gb" },
      environments: ["torch", "plain"],
      costPerHour: 2.5,
      relay: true,
    },
  },
};
