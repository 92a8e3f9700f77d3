#!/usr/bin/env node
/** fit.mjs DATA MODEL RATE: multinomial logistic regression by stochastic gradient descent; MODEL is its weights as JSON. */
import { readFileSync, writeFileSync } from "node:fs";
import { classes, features, readRows, scores, softmax } from "./model.mjs";

const [data, model, rateText] = process.argv.slice(2);
const rate = Number(rateText);
if (!data || !model || !(rate > 0)) {
  console.error("usage: fit.mjs DATA MODEL RATE (a number above 0)");
  process.exit(2);
}
const EPOCHS = 20;
const rows = readRows(readFileSync(data, "utf8"));
const weights = Array.from({ length: classes }, () => Array.from({ length: features + 1 }, () => 0));
for (let epoch = 0; epoch < EPOCHS; epoch++) {
  const step = rate / (1 + epoch);
  for (const { digit, pixels } of rows) {
    const chances = softmax(scores(weights, pixels));
    for (const [each, row] of weights.entries()) {
      const slope = step * (chances[each] - (each === digit ? 1 : 0));
      for (let at = 0; at < features; at++) row[at] -= slope * pixels[at];
      row[features] -= slope;
    }
  }
}
writeFileSync(model, JSON.stringify(weights));
