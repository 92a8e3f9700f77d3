// A process that runs one line of shell as a task, for tests that kill it: node executor-child.mjs WORKDIR LINE.
// It runs from the built package, since plain Node reads no TypeScript: `npx tsc -b packages/governor` comes first.
import { Executor } from "../../packages/governor/dist/executor/index.js";

const [workdir, line] = process.argv.slice(2);
const noStore = () => {
  throw new Error("this executor has no store");
};
const executor = new Executor({
  workdir,
  store: { has: noStore, path: noStore, putBytes: noStore, adoptFile: noStore, remove: noStore },
  onStarted: () => console.log("started"),
  onEnded: (_, outcome) => console.log("ended", JSON.stringify(outcome)),
  log: (level, text) => console.log(level, text),
});
await executor.start();
console.log("ready");
if (line !== undefined)
  executor.run({
    type: "run",
    ref: { session: 1, task: 1, attempt: 1 },
    spec: {
      id: 1,
      work: { type: "execute", shell: true, args: [line] },
      inputs: [],
      outputs: [],
      request: { cpus: 1, gpus: 0, memory: 0, named: {} },
    },
    inputs: [],
    allocation: { cpus: 1, gpus: [], memory: 0 },
  });
process.stdin.resume().on("end", () => void executor.stop().then(() => console.log("stopped")));
