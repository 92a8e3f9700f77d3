import {
  asDigest,
  asObjectId,
  asSessionId,
  asTaskId,
  governorMessage,
  serverToGovernor,
} from "@rain/protocol";
import { decode, encode, parse } from "@rain/protocol/codec";
import { alternate, median } from "./support/figures.mjs";

// The two messages that every task costs, through the codec alone: written and read, checked as from outside.

const COUNT = 20_000;
const ROUNDS = 5;

const ref = { session: asSessionId(3), task: asTaskId(1234), attempt: 1 };
const sha256 = asDigest("0".repeat(64));
const text = new TextEncoder().encode("hello\n");
/** @type {import("@rain/protocol").ServerToGovernor} */
const assign = {
  type: "assign",
  ...ref,
  spec: {
    id: ref.task,
    work: { type: "execute", args: ["/bin/echo", "hello"] },
    inputs: [],
    outputs: [
      {
        object: asObjectId(1234),
        label: "stdout",
        kind: "blob",
        contentType: "",
        keep: true,
        capture: "stdout",
      },
    ],
    request: { cpus: 1, gpus: 0, memory: 0, named: {} },
    origin: "messages.mjs:30:5",
  },
  inputs: [],
};
/** @type {import("@rain/protocol").GovernorMessage} */
const finish = {
  type: "finish",
  ...ref,
  outputs: [{ object: asObjectId(1234), size: text.length, sha256, contentType: "", data: text }],
  info: { startTime: 1_700_000_000_000, durationS: 0.001, exitCode: 0, cpuTimeS: 0.001 },
};

/**
 * Tasks a second for `once`, which carries the messages of one task.
 * @param {number} count
 * @param {() => void} once
 */
function rate(count, once) {
  const begin = performance.now();
  for (let i = 0; i < count; i += 1) once();
  return count / ((performance.now() - begin) / 1000);
}

function checked() {
  parse(serverToGovernor, decode(encode(assign)), "bench");
  parse(governorMessage, decode(encode(finish)), "bench");
}
// JSON has no bytes, so its text goes as text.
const { outputs, ...plain } = finish;
const finishText = { ...plain, outputs: outputs.map((output) => ({ ...output, data: "hello\n" })) };
function json() {
  JSON.parse(JSON.stringify(assign));
  JSON.parse(JSON.stringify(finishText));
}

/** @type {import("./support/child.mjs").Benchmark} */
const benchmark = {
  name: "messages",
  what: "the codec alone: assign and finish of a task, written, read and checked",
  run: async ({ quick }) => {
    const count = quick ? COUNT / 20 : COUNT;
    rate(count, checked); // warms up
    rate(count, json);
    const rates = await alternate(quick ? 1 : ROUNDS, {
      checked: () => rate(count, checked),
      json: () => rate(count, json),
    });
    const peer = { name: "JSON, not checked", value: median(rates.json) };
    const note = "both ends of both messages in one thread";
    return [
      {
        figure: "assign + finish",
        value: median(rates.checked),
        unit: "tasks/s",
        rounds: rates.checked,
        peer,
        note,
      },
    ];
  },
};
export default benchmark;
