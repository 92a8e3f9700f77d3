import { parseArgs } from "node:util";
import { runHistory, type HistoryResult } from "./history.ts";

/** The command line of the simulator; `scripts/simulate.mjs` starts it. Exit code 1: a rule was broken. */
const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "1000" },
    from: { type: "string", default: "1" },
    seed: { type: "string" },
    log: { type: "boolean", default: false },
    keepGoing: { type: "boolean", default: false },
  },
});
const PROGRESS_MS = 2_000;

function describeFailure(result: HistoryResult): string {
  const { seed, violation, lastLines, events } = result;
  return [
    ...lastLines,
    "",
    `Seed ${seed} broke a rule after ${events} events: ${violation?.message ?? ""}`,
    `Again, with everything that happened: npm run simulate -- --seed ${seed} --log`,
  ].join("\n");
}

function runOne(seed: number): void {
  const onLine = values.log ? (line: string): void => console.log(line) : undefined;
  const result = runHistory({ seed, onLine });
  if (result.violation) {
    console.log(describeFailure(result));
    process.exitCode = 1;
  } else console.log(`Seed ${seed}: ${result.events} events, ${result.faults} faults, log ${result.digest.slice(0, 16)}`);
}

function runMany(from: number, count: number): void {
  const started = performance.now();
  let shown = started;
  let faults = 0;
  let events = 0;
  let failures = 0;
  let done = 0;
  for (let seed = from; seed < from + count; seed++) {
    const result = runHistory({ seed });
    done++;
    faults += result.faults;
    events += result.events;
    if (result.violation) {
      failures++;
      console.log(values.keepGoing ? `${seed} ${result.violation.message.split("\n")[0]}` : describeFailure(result));
      process.exitCode = 1;
      if (!values.keepGoing) break;
    }
    if (performance.now() - shown > PROGRESS_MS) {
      shown = performance.now();
      console.log(`${done} of ${count} histories`);
    }
  }
  const seconds = (performance.now() - started) / 1000;
  console.log(
    `${done} histories (seeds ${from} to ${from + done - 1}), ${faults} faults, ${events} events in ${seconds.toFixed(1)} s: ` +
      `${(done / seconds).toFixed(0)} histories/s; ${failures} with a broken rule`,
  );
}

if (values.seed !== undefined) runOne(Number(values.seed));
else runMany(Number(values.from), Number(values.seeds));
