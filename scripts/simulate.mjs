// Runs the deterministic simulation: npm run simulate -- [--seeds N] [--from S] [--jobs J] [--keep-going]
//                                    npm run simulate -- --seed N [--log]
// Works on the sources; needs no build. Exit code 0: every rule held, 1: one was broken. See docs/simulation.md.
import { fork } from "node:child_process";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { loadSources } from "./support/sources.mjs";

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    log: { type: "boolean", default: false },
    seeds: { type: "string", default: "1000" },
    from: { type: "string", default: "1" },
    jobs: { type: "string", default: String(Math.min(availableParallelism(), 8)) },
    "keep-going": { type: "boolean", default: false },
    /** Internal: this process is job number N of `jobs`. */
    job: { type: "string" },
  },
});

function number(name, min) {
  const value = Number(values[name]);
  if (Number.isSafeInteger(value) && value >= min) return value;
  console.error(`--${name} must be a whole number from ${min}, not ${values[name]}.`);
  process.exit(2);
}

async function load() {
  const { loaded, close } = await loadSources("test/simulation/main.ts");
  return { simulator: loaded, close };
}

async function one() {
  const { simulator, close } = await load();
  const held = simulator.simulateOne(number("seed", 0), values.log, (line) => console.log(line));
  await close();
  return held;
}

/** One of several processes: every `jobs`-th seed. */
async function job() {
  const { simulator, close } = await load();
  const jobs = number("jobs", 1);
  const index = number("job", 0);
  const count = Math.ceil((number("seeds", 1) - index) / jobs);
  const summary = simulator.simulateMany(
    { from: number("from", 0) + index, count, step: jobs, keepGoing: values["keep-going"] },
    (line) => console.log(line),
    (done) => process.send?.({ done }),
  );
  await close();
  process.send?.({ summary });
  process.disconnect?.();
}

function runJobs(jobs) {
  const total = number("seeds", 1);
  const done = Array.from({ length: jobs }, () => 0);
  const summaries = [];
  let shown = 0;
  const children = done.map((_, index) => {
    const args = [
      "--seeds",
      values.seeds,
      "--from",
      values.from,
      "--jobs",
      String(jobs),
      "--job",
      String(index),
    ];
    if (values["keep-going"]) args.push("--keep-going");
    const child = fork(fileURLToPath(import.meta.url), args);
    child.on("message", (message) => {
      if (message.summary) summaries.push(message.summary);
      else done[index] = message.done;
      const sum = done.reduce((a, b) => a + b, 0);
      if (message.summary?.broken.length > 0 && !values["keep-going"]) {
        for (const other of children) if (other !== child) other.kill();
      } else if (!message.summary && sum - shown >= total / 50) {
        shown = sum;
        console.log(`${sum} of ${total} histories`);
      }
    });
    return child;
  });
  const ended = children.map((child) => new Promise((resolve) => child.on("close", resolve)));
  return Promise.all(ended).then((codes) => ({ summaries, failed: codes.some((code) => code !== 0) }));
}

async function many() {
  const total = number("seeds", 1);
  const started = performance.now();
  const { summaries, failed } = await runJobs(Math.min(number("jobs", 1), Math.ceil(total / 50)));
  const add = (pick) => summaries.reduce((sum, each) => sum + pick(each), 0);
  const histories = add((each) => each.histories);
  const broken = summaries.flatMap((each) => each.broken).toSorted((a, b) => a - b);
  const seconds = (performance.now() - started) / 1000;
  console.log(
    `${histories} histories with ${add((each) => each.faults)} faults and ${add((each) => each.events)} events ` +
      `in ${seconds.toFixed(1)} s, ${(histories / seconds).toFixed(0)} a second; ` +
      (broken.length > 0
        ? `broken rules with seeds ${broken.join(", ")}`
        : failed
          ? "not run to its end"
          : "no rule was broken"),
  );
  return broken.length === 0 && !failed;
}

number("from", 0);
if (values.job !== undefined) await job();
else process.exitCode = (await (values.seed === undefined ? many() : one())) ? 0 : 1;
