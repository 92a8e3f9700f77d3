#!/usr/bin/env node
/** predict.mjs MODEL DATA: prints the share of DATA's lines that MODEL gets right. */
import { readFileSync } from "node:fs";
import { readRows, scores } from "./model.mjs";

const [model, data] = process.argv.slice(2);
if (!model || !data) {
  console.error("usage: predict.mjs MODEL DATA");
  process.exit(2);
}
const weights = JSON.parse(readFileSync(model, "utf8"));
const rows = readRows(readFileSync(data, "utf8"));
const right = rows.filter(({ digit, pixels }) => {
  const values = scores(weights, pixels);
  return values.indexOf(Math.max(...values)) === digit;
});
console.log((right.length / rows.length).toFixed(4));
