// `npm run bench`: runs the benchmarks one after another and prints one table.
//   --only NAME   just this one; may be repeated
//   --json        the same as JSON, with every round
//   --markdown    the rows that have a peer, as a table for a document
//   --quick       few tasks and rounds: shows that it works, not how fast it is
//   --list        the names
//   --install-peers   installs Dask, Ray and HyperQueue for the benchmarks and ends
import { fork } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { benchmarks } from "./benchmarks.mjs";
import { describeMachine, isRunning, load } from "./support/machine.mjs";
import { installPeers } from "./support/peers.mjs";
import { formatMarkdown, formatTable } from "./support/table.mjs";

/** @typedef {import("./support/table.mjs").Row} Row */

/** Longest time of one benchmark, milliseconds: also on a machine that has much else to do. */
const LIMIT_MS = 1_800_000;
const child = fileURLToPath(new URL("./support/child.mjs", import.meta.url));

/** Ends what runs now; set while a benchmark runs. */
let interrupt = () => {};

/**
 * Runs one benchmark in a process group of its own, and ends that group whatever happens.
 * @param {string} name
 * @param {boolean} quick
 * @returns {Promise<readonly import("./support/figures.mjs").Figure[]>}
 */
async function measure(name, quick) {
  const dir = mkdtempSync(join(tmpdir(), "rain-bench-"));
  const keepers = /** @type {number[]} */ ([]);
  const runner = fork(child, [name, dir, ...(quick ? ["quick"] : [])], {
    detached: true,
    execArgv: ["--expose-gc"],
    stdio: "inherit",
  });
  const gone = new Promise((resolve) => runner.once("exit", resolve).once("error", resolve));
  try {
    return await new Promise((resolve, reject) => {
      const late = setTimeout(
        () => reject(new Error(`not done after ${LIMIT_MS / 1000} s, the limit of a benchmark`)),
        LIMIT_MS,
      );
      interrupt = () => reject(new Error("interrupted"));
      runner.once("error", reject);
      runner.once("exit", (code, signal) => reject(new Error(`ended without a result (${signal ?? code})`)));
      runner.on("message", (/** @type {any} */ message) => {
        if (message.keeper !== undefined) keepers.push(message.keeper);
        else if (message.figures === undefined) reject(new Error(message.error));
        else resolve(message.figures);
      });
      void gone.then(() => clearTimeout(late));
    });
  } finally {
    interrupt = () => {};
    killGroup(runner.pid);
    await gone;
    // A peer's keeper sees that the benchmark is gone, and ends what belongs to it.
    await Promise.all(keepers.map(ended));
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** @param {number} pid */
async function ended(pid) {
  while (isRunning(pid)) await sleep(20);
}

/** @param {number | undefined} pid */
function killGroup(pid) {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    // The whole group has ended already.
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== "ESRCH") throw error;
  }
}

/**
 * @param {readonly string[]} names
 * @param {boolean} quick
 */
async function runAll(names, quick) {
  /** @type {Row[]} */
  const rows = [];
  /** @type {{ benchmark: string, error: string }[]} */
  const failures = [];
  let stopped = false;
  const stop = () => {
    stopped = true;
    interrupt();
  };
  process.once("SIGINT", stop).once("SIGTERM", stop);
  for (const benchmark of names) {
    if (stopped) break;
    const before = load();
    const begin = performance.now();
    process.stderr.write(`bench: ${benchmark} ... `);
    try {
      const figures = await measure(benchmark, quick);
      const after = load();
      rows.push(
        ...figures.map((figure) => ({ benchmark, ...figure, load: /** @type {const} */ ([before, after]) })),
      );
      process.stderr.write(`${((performance.now() - begin) / 1000).toFixed(1)} s\n`);
    } catch (error) {
      const text = error instanceof Error ? error.message : String(error);
      failures.push({ benchmark, error: text });
      process.stderr.write(`FAILED\n${text}\n`);
    }
  }
  return { rows, failures };
}

/**
 * @param {readonly Row[]} rows
 * @param {readonly { benchmark: string, error: string }[]} failures
 * @param {number} seconds
 * @param {{ readonly quick: boolean, readonly markdown: boolean }} how
 */
function report(rows, failures, seconds, { quick, markdown }) {
  const { cpu, cpus, memoryBytes, kernel, node } = describeMachine();
  const memory = `${Math.round(memoryBytes / 2 ** 30)} GiB`;
  const table = markdown ? formatMarkdown(rows) : formatTable(rows);
  const lines = [
    "",
    rows.length === 0 ? "(nothing was measured)" : table,
    "",
    ...failures.map(({ benchmark, error }) => `FAILED ${benchmark}: ${error.split("\n")[0]}`),
    ...(quick ? ["QUICK: few tasks and one round; these figures say that it works, not how fast."] : []),
    `RATIO is the figure divided by its peer. LOAD is the load of the last minute before and after the benchmark.`,
    `${cpus} cpus (${cpu}), ${memory}, Linux ${kernel}, Node ${node}; ${seconds.toFixed(0)} s in all`,
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}

async function main() {
  const { values } = parseArgs({
    options: {
      only: { type: "string", multiple: true },
      json: { type: "boolean", default: false },
      markdown: { type: "boolean", default: false },
      quick: { type: "boolean", default: false },
      "install-peers": { type: "boolean", default: false },
      list: { type: "boolean", default: false },
    },
  });
  if (values["install-peers"]) {
    await installPeers();
    return 0;
  }
  if (values.list) {
    for (const { name, what } of benchmarks) process.stdout.write(`${name.padEnd(16)} ${what}\n`);
    return 0;
  }
  const names = values.only ?? benchmarks.map(({ name }) => name);
  const unknown = names.find((name) => !benchmarks.some((one) => one.name === name));
  if (unknown !== undefined) {
    process.stderr.write(`bench: there is no benchmark ${JSON.stringify(unknown)}; --list shows the names\n`);
    return 2;
  }
  const begin = performance.now();
  const { rows, failures } = await runAll(names, values.quick);
  const seconds = (performance.now() - begin) / 1000;
  if (values.json) {
    const result = { machine: describeMachine(), quick: values.quick, seconds, rows, failures };
    process.stdout.write(`${JSON.stringify(result, undefined, 2)}\n`);
  } else report(rows, failures, seconds, values);
  return failures.length === 0 && rows.length > 0 ? 0 : 1;
}

process.exitCode = await main();
