import { asDigest, asGovernorId, asObjectId, asSessionId, asTaskId, type TaskSpec } from "@rain/protocol";
import type { ServerRecord } from "../../../packages/server/src/core/types.ts";

const [one, two] = [asSessionId(1), asSessionId(2)];
const governor = asGovernorId(1);
const other = asGovernorId(2);
const sha256 = asDigest("ab".repeat(32));
const request = { cpus: 1.5, gpus: 0, memory: 5_000_000_000, named: { disk: 2 } };
const task = (id: number, more: Partial<TaskSpec> = {}): TaskSpec => ({
  id: asTaskId(id),
  work: { type: "execute", args: ["cat", { output: 0 }], env: { TOKEN: "s3cret" } },
  inputs: [],
  outputs: [
    {
      object: asObjectId(100 + id),
      label: "out",
      kind: "blob",
      contentType: "json",
      keep: true,
      capture: "stdout",
    },
  ],
  request,
  name: `task ${id}`,
  priority: -3,
  timeoutS: 0.5,
  retries: 2,
  origin: "sweep.mjs:12:5",
  user: { a: { b: true } },
  ...more,
});
const info = {
  startTime: 1_700_000_000_123.5,
  durationS: 0.25,
  exitCode: 0,
  cpuTimeS: 0.2,
  maxRssBytes: 6e9,
};
const finished = (session: typeof one, id: number, attempt = 1): ServerRecord => ({
  type: "finished",
  session,
  task: asTaskId(id),
  attempt,
  governor,
  outputs: [
    { object: asObjectId(100 + id), size: 2, sha256, contentType: "json", data: Uint8Array.of(52, 50) },
  ],
  info: { ...info, user: { accuracy: 0.5 }, debug: "note" },
});
const assigned = (session: typeof one, id: number, attempt = 1): ServerRecord => ({
  type: "assigned",
  session,
  task: asTaskId(id),
  attempt,
  governor,
});

/**
 * A life of a server with every type of record, each possible after those before it: the golden folders are made of it,
 * one commit a record. Never changed: what later versions write goes into a folder of its own.
 */
export const history: readonly ServerRecord[] = [
  {
    type: "governor.registered",
    governor,
    identity: "identity-1",
    incarnation: "first",
    name: "box",
    epoch: 1,
  },
  {
    type: "session.opened",
    session: one,
    key: "key-of-session-1",
    name: "MNIST ☂",
    onError: "continue",
    detached: true,
    ttlS: 2.5,
  },
  {
    type: "submitted",
    session: one,
    key: "key-of-submit-1",
    tasks: [
      task(0, { inputs: [{ object: asObjectId(0), label: "in", path: "a/b", write: true }] }),
      task(1),
      task(2, { inputs: [{ object: asObjectId(100), contentType: "" }] }),
      task(3, { work: { type: "sleep", seconds: 1 }, outputs: [] }),
      task(4, { inputs: [{ object: asObjectId(101) }] }),
    ],
    constants: [
      {
        id: asObjectId(0),
        kind: "blob",
        label: "constant",
        contentType: "",
        keep: false,
        size: 300,
        sha256,
        data: Uint8Array.from({ length: 300 }, (_, at) => at & 0xff),
      },
      {
        id: asObjectId(1),
        kind: "directory",
        label: "tree",
        contentType: "",
        keep: true,
        size: 70_000,
        sha256,
        user: { kind: "tree" },
      },
    ],
  },
  assigned(one, 0),
  finished(one, 0),
  assigned(one, 1),
  { type: "released", session: one, task: asTaskId(1), attempt: 1, counts: "crash", why: "governor lost" },
  {
    type: "reopened",
    session: one,
    task: asTaskId(0),
    objects: [asObjectId(100)],
    why: "its output was lost",
  },
  assigned(one, 0, 2),
  finished(one, 0, 2),
  assigned(one, 1, 2),
  {
    type: "failed",
    session: one,
    task: asTaskId(1),
    failure: {
      reason: "exit",
      message: "exit code 3",
      exitCode: 3,
      stderr: "bad\n",
      attempt: 2,
      governor: "box",
    },
    info,
  },
  {
    type: "governor.registered",
    governor: other,
    identity: "identity-2",
    incarnation: "x",
    name: "two",
    epoch: 1,
  },
  { type: "governor.draining", governor: other },
  assigned(one, 2),
  finished(one, 2),
  { type: "lost", session: one, object: asObjectId(100) },
  { type: "unkept", session: one, objects: [asObjectId(102)] },
  { type: "cancelled", session: one, tasks: [asTaskId(3)] },
  {
    type: "session.opened",
    session: two,
    key: "key-of-session-2",
    name: "second",
    onError: "fail",
    detached: false,
  },
  { type: "submitted", session: two, key: "key-of-submit-2", tasks: [task(0), task(1)], constants: [] },
  { type: "session.closed", session: one },
  assigned(two, 0),
  {
    type: "governor.registered",
    governor,
    identity: "identity-1",
    incarnation: "second",
    name: "box",
    epoch: 2,
  },
  finished(two, 0),
  assigned(two, 1),
];
