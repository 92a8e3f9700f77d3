#!/usr/bin/env node
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const main = new URL("../dist/main.js", import.meta.url);
const project = fileURLToPath(new URL("../../../tsconfig.json", import.meta.url));

// A fresh checkout has no dist: build it once. Forced, since the build's own notes may outlive a removed dist.
if (!existsSync(main) && existsSync(project)) {
  const compiler = createRequire(import.meta.url).resolve("typescript/package.json");
  const args = [join(dirname(compiler), "bin", "tsc"), "-b", "--force", project];
  process.stderr.write("rain: building this checkout\n");
  const { status, error } = spawnSync(process.execPath, args, { stdio: ["ignore", 2, 2] });
  if (error !== undefined) throw error;
  if (status !== 0) {
    process.stderr.write("rain: the build failed\n");
    process.exit(status ?? 1);
  }
}

const { main: run } = await import(main.href);
process.exitCode = await run(process.argv.slice(2));
