// Kills governors over trees of processes and starts them again: npm run orphans -- [--kills N]
// Exit code 0: nothing of any tree was left, 1: something was. See docs/failures.md.
import { parseArgs } from "node:util";
import { loadSources } from "./support/sources.mjs";

const { values } = parseArgs({ options: { kills: { type: "string", default: "20" } } });
const kills = Number(values.kills);
if (!Number.isSafeInteger(kills) || kills < 1) {
  console.error(`--kills must be a whole number from 1, not ${values.kills}.`);
  process.exit(2);
}
const { loaded, close } = await loadSources("test/chaos/orphans.ts");
const report = await loaded.runOrphans({ kills, print: (line) => console.log(line) });
for (const problem of report.problems) console.log(`  ${problem}`);
console.log(
  `${report.kills} kills of a governor over ${report.processes} processes in ${report.seconds.toFixed(0)} s; ` +
    `the last process was gone at most ${report.longestS.toFixed(2)} s after the governor was back: ` +
    (report.problems.length === 0 ? "no process was left" : `${report.problems.length} PROBLEMS`),
);
await close();
process.exitCode = report.problems.length === 0 ? 0 : 1;
