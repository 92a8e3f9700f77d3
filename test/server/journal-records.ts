import { asDigest, asGovernorId, asObjectId, asSessionId, asTaskId } from "@rain/protocol";
import type { ServerRecord } from "../../packages/server/src/core/types.ts";

const session = asSessionId(7);
const sha256 = asDigest("ab".repeat(32));
const resources = { cpus: 1.5, gpus: 0, memory: 5_000_000_000, named: { disk: 2 } };

const batch = {
  from: 0,
  points: [
    { name: "loss", value: NaN, step: 0.5, at: 1_700_000_000_123.5 },
    { name: "größe 🌧", value: -Infinity, at: 1_700_000_001_123 },
  ],
  params: { lr: 0.5 },
};

/** What the golden files of format 1 hold: never changed. */
export const goldenRecords: readonly ServerRecord[] = [
  {
    type: "session.opened",
    session,
    key: "key-12345678",
    name: "MNIST ☂",
    onError: "fail",
    detached: true,
    ttlS: 2.5,
  },
  {
    type: "governor.registered",
    governor: asGovernorId(2),
    identity: "identity",
    incarnation: "incarnation",
    name: "machine",
    epoch: 3,
  },
  {
    type: "submitted",
    session,
    key: "key-87654321",
    tasks: [
      {
        id: asTaskId(0),
        work: { type: "execute", args: ["cat", { input: 0 }, { output: 0 }], stdin: 0, env: { A: "b" } },
        inputs: [{ object: asObjectId(0), label: "in", path: "a/b", write: true }],
        outputs: [
          {
            object: asObjectId(1),
            label: "out",
            kind: "blob",
            contentType: "json",
            keep: true,
            capture: "stdout",
          },
        ],
        request: resources,
        name: "task",
        priority: -3,
        timeoutS: 0.5,
        retries: 2,
        origin: "sweep.mjs:12:5",
      },
      { id: asTaskId(1), work: { type: "sleep", seconds: 1 }, inputs: [], outputs: [], request: resources },
    ],
    constants: [
      {
        id: asObjectId(0),
        kind: "blob",
        label: "constant",
        contentType: "",
        keep: false,
        size: 3,
        sha256,
        data: Uint8Array.of(0, 255, 7),
      },
    ],
  },
  { type: "assigned", session, task: asTaskId(0), attempt: 1, governor: asGovernorId(2) },
  {
    type: "finished",
    session,
    task: asTaskId(0),
    attempt: 1,
    governor: asGovernorId(2),
    outputs: [{ object: asObjectId(1), size: 2, sha256, contentType: "json", data: Uint8Array.of(52, 50) }],
    info: {
      startTime: 1_700_000_000_123.5,
      durationS: 0.25,
      exitCode: 0,
      cpuTimeS: 0.2,
      maxRssBytes: 6_000_000_000,
    },
  },
  {
    type: "failed",
    session,
    task: asTaskId(1),
    failure: {
      reason: "exit",
      message: "exit code 3",
      exitCode: 3,
      stderr: "bad\n",
      attempt: 2,
      governor: "machine",
    },
    info: {},
  },
  { type: "released", session, task: asTaskId(1), attempt: 1, counts: "crash", why: "governor lost" },
  { type: "reopened", session, task: asTaskId(0), objects: [asObjectId(1)], why: "its output was lost" },
  { type: "lost", session, object: asObjectId(1) },
  { type: "cancelled", session, tasks: [asTaskId(0), asTaskId(1)] },
  { type: "unkept", session, objects: [asObjectId(1)] },
  { type: "session.closed", session },
];

/** What the golden files of arrays hold: never changed. A part of what `everyRecord` has, that makes a state. */
export const goldenArrays: readonly ServerRecord[] = [
  {
    type: "session.opened",
    session,
    key: "key-of-session",
    name: "arrays",
    onError: "continue",
    detached: true,
  },
  {
    type: "governor.registered",
    governor: asGovernorId(1),
    identity: "identity",
    incarnation: "incarnation",
    name: "g1",
    epoch: 1,
  },
  {
    type: "submitted",
    session,
    key: "key-of-arrays",
    tasks: [],
    constants: [],
    arrays: [
      {
        first: asTaskId(0),
        count: 2_000,
        objects: asObjectId(0),
        task: {
          work: { type: "execute", args: ["echo", "0"], env: { TRIAL: "0" } },
          inputs: [],
          outputs: [{ label: "stdout", kind: "blob", contentType: "", keep: true, capture: "stdout" }],
          request: resources,
          name: "echo 0",
        },
        vary: [
          { at: ["args", 1], range: { from: 0, step: 1 } },
          { at: ["env", "TRIAL"], range: { from: 0, step: 1 } },
          { at: ["name"], range: { from: 0, step: 1, prefix: "echo ", suffix: "" } },
        ],
      },
      {
        first: asTaskId(2_000),
        count: 3,
        objects: asObjectId(2_000),
        task: {
          work: { type: "sleep", seconds: 0 },
          inputs: [{ object: asObjectId(5) }],
          outputs: [],
          request: resources,
        },
        vary: [{ at: ["input", 0], values: [5, 6, 7] }],
      },
    ],
  },
  { type: "assigned", session, task: asTaskId(0), attempt: 1, governor: asGovernorId(1) },
  { type: "assigned", session, task: asTaskId(5), attempt: 1, governor: asGovernorId(1) },
  {
    type: "finished",
    session,
    task: asTaskId(0),
    attempt: 1,
    governor: asGovernorId(1),
    outputs: [{ object: asObjectId(0), size: 2, sha256, contentType: "", data: Uint8Array.of(48, 10) }],
    info: { durationS: 0.25, exitCode: 0 },
  },
  {
    type: "failed",
    session,
    task: asTaskId(5),
    failure: { reason: "exit", message: "exit code 3" },
    info: {},
  },
  { type: "cancelled", session, tasks: [asTaskId(2_001)], ranges: [[asTaskId(0), 1_500]] },
];

/** One of each type of record, with every kind of field. A record newer than the golden files is added here. */
export const everyRecord: readonly ServerRecord[] = [
  ...goldenRecords,
  ...goldenArrays,
  {
    type: "submitted",
    session,
    key: "key-later-parts",
    tasks: [
      {
        id: asTaskId(10),
        work: { type: "makeDirectory", paths: ["a/b"] },
        inputs: [{ object: asObjectId(10), contentType: "" }],
        outputs: [
          {
            object: asObjectId(11),
            label: "output",
            kind: "directory",
            contentType: "",
            keep: true,
            user: { list: [1, null, "x"] },
          },
        ],
        request: resources,
        user: { a: { b: true } },
      },
      {
        id: asTaskId(11),
        work: { type: "load", path: "/x" },
        inputs: [],
        outputs: [],
        request: resources,
      },
      {
        id: asTaskId(12),
        work: { type: "store", path: "/y" },
        inputs: [],
        outputs: [],
        request: resources,
      },
      {
        id: asTaskId(13),
        work: { type: "sliceDirectory", path: "a/" },
        inputs: [],
        outputs: [],
        request: resources,
      },
    ],
    constants: [
      {
        id: asObjectId(10),
        kind: "directory",
        label: "tree",
        contentType: "",
        keep: false,
        size: 70_000,
        sha256,
        user: { kind: "tree" },
      },
    ],
  },
  {
    type: "finished",
    session,
    task: asTaskId(10),
    attempt: 1,
    governor: asGovernorId(2),
    outputs: [
      { object: asObjectId(11), size: 2, sha256, contentType: "", data: Uint8Array.of(52), user: { a: 1 } },
    ],
    info: { user: { accuracy: 0.5 }, debug: "note" },
  },
  { type: "governor.draining", governor: asGovernorId(2) },
  { type: "assigned", session, task: asTaskId(12), attempt: 1, governor: asGovernorId(2), ahead: true },
  { type: "assigned", session, task: asTaskId(10), attempt: 2, governor: asGovernorId(2), adopted: true },
  {
    type: "cached",
    session,
    task: asTaskId(14),
    from: { session: asSessionId(3), task: asTaskId(17), name: "train" },
    outputs: [
      { object: asObjectId(12), size: 2, sha256, contentType: "json", data: Uint8Array.of(52, 50) },
      { object: asObjectId(13), size: 70_000, sha256, contentType: "", user: { a: 1 } },
    ],
    copies: [{ object: asObjectId(13), governor: asGovernorId(2) }],
    info: { durationS: 0.25, exitCode: 0, cost: 0, cached: true },
  },
  { type: "cache.cleared" },
  {
    type: "session.opened",
    session: asSessionId(8),
    key: "key-of-a-run",
    name: "digits-1",
    onError: "continue",
    detached: true,
    unique: true,
    parallelism: 8,
    maxFails: 3,
    created: 1_700_000_000_123,
    user: { run: { v: 1, words: ["--lr", "[0.1,0.2]"] } },
  },
  { type: "metrics", session, task: asTaskId(10), attempt: 1, ...batch },
  {
    type: "finished",
    session,
    task: asTaskId(10),
    attempt: 1,
    governor: asGovernorId(2),
    outputs: [],
    info: { metrics: { loss: { last: NaN, min: 0.5, max: Infinity, count: 2, step: 3 } }, cost: 0.25 },
    metrics: { ...batch, from: 2 },
  },
  {
    type: "failed",
    session,
    task: asTaskId(11),
    failure: { reason: "exit", message: "exit code 3" },
    info: {},
    metrics: { from: 0, points: [] },
  },
  {
    type: "datastore.created",
    key: "key-of-a-datastore",
    name: "digits",
    version: 2,
    kind: "directory",
    size: 6_000_000_000,
    sha256,
    source: "./digits",
    created: 1_700_000_000_123,
  },
  { type: "datastore.deleted", name: "digits", versions: [1, 2] },
];
