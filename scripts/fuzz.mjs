// Hands mutated input to what reads from outside:
//   npm run fuzz -- [--target decoder|tar|http|sweep|journal] [--runs N] [--seconds S] [--seed N] [--only INDEX]
// Works on the sources; needs no build. Exit code 0: every input was taken or refused, 1: one was not.
import { parseArgs } from "node:util";
import { loadSources } from "./support/sources.mjs";

const { values } = parseArgs({
  options: {
    target: { type: "string" },
    runs: { type: "string" },
    seconds: { type: "string" },
    seed: { type: "string", default: "1" },
    only: { type: "string" },
  },
});

/** @param {"runs" | "seconds" | "seed" | "only"} name */
function number(name, min) {
  const text = values[name];
  if (text === undefined) return undefined;
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= min) return value;
  console.error(`--${name} must be a whole number from ${min}, not ${text}.`);
  process.exit(2);
}

const request = {
  target: values.target,
  runs: number("runs", 1),
  seconds: number("seconds", 1),
  seed: number("seed", 0),
  only: number("only", 0),
};
const { loaded, close } = await loadSources("test/fuzz/main.ts");
const held = await loaded.runFuzz(request, (line) => console.log(line));
await close();
process.exitCode = held ? 0 : 1;
