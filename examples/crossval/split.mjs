#!/usr/bin/env node
/** split.mjs IN OUT...: deals the lines of IN to the files OUT in turn. */
import { readFileSync, writeFileSync } from "node:fs";

const [from, ...to] = process.argv.slice(2);
if (!from || to.length === 0) {
  console.error("usage: split.mjs IN OUT...");
  process.exit(2);
}
const lines = readFileSync(from, "utf8").trim().split("\n");
for (const [fold, path] of to.entries()) {
  writeFileSync(path, `${lines.filter((_, at) => at % to.length === fold).join("\n")}\n`);
}
