// Runs a training with the combination that this completion picks, and reports each of its epochs.
//   node hpo.mjs node digits/train.mjs --data digits/digits.csv.gz
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { GridSearch, init, pick, report } from "@rain/hpo";

const [program, ...words] = process.argv.slice(2);
if (program === undefined) {
  console.error("usage: node hpo.mjs PROGRAM [ARGS...]");
  process.exit(2);
}
// Only outside of Rain: the folder that hands combinations out.
init(".hpo");
const config = pick({ grid: { size: [16, 32, 64], dropout: [0, 0.2] }, strategy: GridSearch });
if (config === undefined) {
  console.log("all combinations are taken");
  process.exit(0);
}

for (const [name, value] of Object.entries(config)) words.push(`--${name}`, JSON.stringify(value));
const training = spawn(program, words, { stdio: ["ignore", "ignore", "pipe"] });
const code = new Promise((resolve) => training.once("close", resolve));
// epoch=3 loss=0.4891 accuracy=0.9499
for await (const line of createInterface({ input: training.stderr })) {
  console.error(line);
  const values = Object.fromEntries(line.split(" ").map((pair) => pair.split("=")));
  if (values.epoch === undefined) continue;
  const metrics = { loss: Number(values.loss), accuracy: Number(values.accuracy) };
  report({ epoch: Number(values.epoch), metrics });
}
process.exitCode = Number(await code);
