// Kills real servers and governors while they work: npm run chaos -- [--rounds N] [--tasks N] [--server-kills N]
//                                          [--governor-kills N] [--bad-network] [--seed S]
// Each round is a cluster and a graph of its own. Exit code 0: every result of every round was right, 1: one was not.
// See docs/failures.md.
import { parseArgs } from "node:util";
import { loadSources } from "./support/sources.mjs";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    tasks: { type: "string", default: "10000" },
    "server-kills": { type: "string", default: "20" },
    "governor-kills": { type: "string", default: "20" },
    "bad-network": { type: "boolean", default: false },
    seed: { type: "string", default: String(Date.now()) },
  },
});

function number(name, min) {
  const value = Number(values[name]);
  if (Number.isSafeInteger(value) && value >= min) return value;
  console.error(`--${name} must be a whole number from ${min}, not ${values[name]}.`);
  process.exit(2);
}

const options = {
  tasks: number("tasks", 1),
  serverKills: number("server-kills", 0),
  governorKills: number("governor-kills", 0),
  badNetwork: values["bad-network"],
};
const rounds = number("rounds", 1);
const { loaded, close } = await loadSources("test/chaos/chaos.ts");
let problems = 0;
const kills = { server: 0, governor: 0, cuts: 0 };
for (let round = 0; round < rounds; round += 1) {
  const seed = `${values.seed}-${round}`;
  const report = await loaded.runChaos({ ...options, seed }).catch((error) => {
    problems += 1;
    console.log(`${seed}: PROBLEM, it could not be run to its end:`, error);
  });
  if (report === undefined) continue;
  kills.server += report.serverKills;
  kills.governor += report.governorKills;
  kills.cuts += report.cuts;
  problems += report.problems.length;
  console.log(
    `${seed}: ${report.tasks} tasks, ${report.serverKills} + ${report.governorKills} kills, ${report.cuts} cuts, ` +
      `${report.starts} starts, ${report.seconds.toFixed(0)} s: ${report.problems.length === 0 ? "all right" : `${report.problems.length} PROBLEMS`}`,
  );
  for (const problem of report.problems.slice(0, 20)) console.log(`  ${problem}`);
}
console.log(
  `${rounds} rounds with ${kills.server} kills of servers, ${kills.governor} of governors and ${kills.cuts} cut or hanging connections: ` +
    (problems === 0 ? "nothing was lost, wrong or doubled" : `${problems} problems`),
);
await close();
process.exitCode = problems === 0 ? 0 : 1;
