#!/usr/bin/env node
/**
 * Cross-validation as a task graph: convert, split, fit on all folds but one, predict on that one, gather.
 *
 *     node examples/crossval/crossval.mjs [--folds 5] [--rates 0.1,0.5]
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { blob, Client, input, output } from "@rain/client";

const here = import.meta.dirname;
const { values } = parseArgs({
  options: { folds: { type: "string", default: "5" }, rates: { type: "string", default: "0.1,0.5" } },
});
const folds = Number(values.folds);
const rates = values.rates.split(",");
if (!Number.isInteger(folds) || folds < 2 || rates.some((rate) => !(Number(rate) > 0))) {
  console.error(
    "crossval.mjs: --folds needs a whole number of at least 2, --rates numbers above 0, as 0.1,0.5",
  );
  process.exit(2);
}

/** The programs travel as objects, so that any governor can run them. */
const program = Object.fromEntries(
  ["convert.mjs", "split.mjs", "fit.mjs", "predict.mjs", "model.mjs"].map((name) => [
    name,
    blob(readFileSync(join(here, name)), { label: name }),
  ]),
);
/** @param {string} name the program, under its own name, since it imports its neighbour by name */
const run = (name) => input(name, { path: name, object: program[name] });
const shared = [input("model.mjs", { path: "model.mjs", object: program["model.mjs"] })];

const client = await Client.connect();
const session = await client.newSession("cross-validation");

const raw = blob(readFileSync(join(here, "../digits/digits.csv.gz")), { label: "digits.csv.gz" });
const converted = session.execute(["node", run("convert.mjs"), raw, output("data")], { name: "convert" });
const numbers = Array.from({ length: folds }, (_, fold) => fold);
const split = session.execute(
  ["node", run("split.mjs"), converted.output, ...numbers.map((fold) => output(`fold ${fold}`))],
  { name: "split" },
);

const results = rates.flatMap((rate) =>
  numbers.map((fold) => {
    const rest = session.concat(
      numbers.filter((each) => each !== fold).map((each) => split.outputs.at(each)),
    );
    const fit = session.execute(["node", run("fit.mjs"), rest.output, output("model"), rate], {
      inputPaths: shared,
      name: `fit rate=${rate} without fold ${fold}`,
    });
    const predict = session.execute(["node", run("predict.mjs"), fit.output, split.outputs.at(fold)], {
      inputPaths: shared,
      stdout: true,
      name: `predict rate=${rate} fold ${fold}`,
    });
    return { rate, fold, predict };
  }),
);
const gathered = new Map(
  rates.map((rate) => {
    const ofRate = results.filter((result) => result.rate === rate);
    return [rate, session.concat(ofRate.map(({ predict }) => predict.output))];
  }),
);
for (const task of gathered.values()) task.output.keep();
await session.submit();

for (const [rate, task] of gathered) {
  const accuracies = (await task.output.fetch()).text().trim().split("\n").map(Number);
  const mean = accuracies.reduce((sum, accuracy) => sum + accuracy, 0) / accuracies.length;
  console.log(
    `rate=${rate}  folds ${accuracies.map((each) => each.toFixed(4)).join(" ")}  mean ${mean.toFixed(4)}`,
  );
}
await session.close();
await client.close();
