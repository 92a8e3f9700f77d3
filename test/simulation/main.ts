import { runHistory } from "./history.ts";
for (let seed = 1; seed <= Number(process.argv[2] ?? 20); seed++) {
  const result = runHistory({ seed });
  if (result.violation) {
    console.log(seed, result.violation.message.slice(0,600), result.events);
  }
}
