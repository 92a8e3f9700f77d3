#!/usr/bin/env node
/**
 * convert.mjs IN OUT: digits as CSV (plain or gzip; 64 pixels 0..16, then the digit) to lines of `digit p0 p1 ...` with
 * pixels scaled to 0..1, shuffled by a fixed permutation, so that folds are alike.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

const [from, to] = process.argv.slice(2);
if (!from || !to) {
  console.error("usage: convert.mjs IN OUT");
  process.exit(2);
}
const bytes = readFileSync(from);
const text = (bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes).toString("utf8");
const rows = text.trim().split("\n");
const lines = rows.map((row, at) => {
  const values = row.split(",").map(Number);
  if (values.length !== 65 || values.some((value) => !Number.isFinite(value))) {
    console.error(`${from}: row ${at + 1} is not 65 numbers`);
    process.exit(1);
  }
  const digit = values.pop();
  return `${digit} ${values.map((value) => value / 16).join(" ")}`;
});
// 7 and the 1,797 rows have no common factor, so every row is taken once.
const shuffled = lines.map((_, at) => lines[(at * 7) % lines.length]);
writeFileSync(to, `${(lines.length % 7 === 0 ? lines : shuffled).join("\n")}\n`);
