import { readFileSync } from "node:fs";
import { each } from "@rain/client";
import { arrayCyclesASecond } from "./core.mjs";
import { alternate, median, mebibytes } from "./support/figures.mjs";
import { askDelay } from "./support/instance.mjs";

// What a task costs beside its program: a governor that runs nothing and says so at once, and everything else as it is:
// client, server with its journal, messages both ways.

const CPUS = 64;
/**
 * Tasks of one measurement, how they are added, and how often it is done.
 * @typedef {{ readonly tasks: number, readonly rounds: number, readonly how: "array" | "loop" | "values" }} Size
 */
/** @type {readonly Size[]} */
const SIZES = [
  { tasks: 10_000, rounds: 5, how: "array" },
  { tasks: 100_000, rounds: 3, how: "array" },
  { tasks: 100_000, rounds: 3, how: "loop" },
  { tasks: 1_000_000, rounds: 1, how: "array" },
  { tasks: 1_000_000, rounds: 1, how: "values" },
];
const QUICK = SIZES.map((size) => ({ ...size, tasks: size.tasks / 100, rounds: 1 }));
const titles = { array: "", loop: ", one call for each", values: ", a listed value each" };

/**
 * CPU time of a process so far, milliseconds.
 * @param {number} pid
 */
function cpuMs(pid) {
  // The name of the program, in parentheses, may have blanks.
  const [, rest = ""] = /^\d+ \(.*\) (.*)$/s.exec(readFileSync(`/proc/${pid}/stat`, "utf8")) ?? [];
  const fields = rest.split(" ");
  // utime and stime, in hundredths of a second on every Linux that Node runs on.
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** @typedef {"server" | "governor" | "client"} Part */

/**
 * @param {import("@rain/client").Session} session
 * @param {Size} size
 */
function addTasks(session, { tasks, how }) {
  if (how === "array") return [session.array(tasks, ["/bin/true"])];
  if (how === "loop") return Array.from({ length: tasks }, () => session.execute(["/bin/true"]));
  // No two alike, and in no order that a few numbers could say.
  const values = Array.from({ length: tasks }, (_, i) => ((i * 2_654_435_761) % 4_294_967_296).toString(36));
  return [session.array(tasks, ["/bin/true", each(values)])];
}

/**
 * One measurement: from the first line of the script until the client knows that all have finished.
 * @param {import("@rain/client").Client} client
 * @param {Size} size
 * @param {Readonly<Record<Part, number>>} pids
 */
async function submitAndWait(client, size, pids) {
  const count = size.tasks;
  const session = await client.newSession("bench dispatch");
  const parts = /** @type {readonly Part[]} */ (Object.keys(pids));
  globalThis.gc?.();
  const memory = process.memoryUsage.rss();
  const before = parts.map((part) => cpuMs(pids[part]));
  const begin = performance.now();
  const tasks = addTasks(session, size);
  await session.submit();
  const submitted = performance.now();
  await session.wait(tasks);
  const end = performance.now();
  const us = /** @type {Record<Part, number>} */ ({});
  for (const [at, part] of parts.entries())
    us[part] = ((cpuMs(pids[part]) - (before[at] ?? 0)) * 1000) / count;
  const bytes = Math.max(0, process.memoryUsage.rss() - memory);
  await session.close();
  return { submitS: (submitted - begin) / 1000, rate: count / ((end - begin) / 1000), us, bytes };
}

/** @type {import("./support/child.mjs").Benchmark} */
const benchmark = {
  name: "dispatch",
  what: "tasks without processes: client, server, journal, messages, a governor that runs nothing",
  run: async ({ newInstance, quick }) => {
    const instance = newInstance();
    const server = await instance.startServer({ probe: true });
    const governor = await instance.startGovernor({ cpus: CPUS, zero: true });
    const client = await instance.connect();
    const pids = { server: server.pid, governor: governor.pid, client: process.pid };
    await submitAndWait(client, { tasks: quick ? 100 : 5_000, rounds: 1, how: "loop" }, pids); // warms up
    const figures = [];
    for (const size of quick ? QUICK : SIZES) {
      const { tasks, rounds, how } = size;
      await askDelay(server);
      /** @type {Awaited<ReturnType<typeof submitAndWait>>[]} */
      const measured = [];
      const { core } = await alternate(rounds, {
        all: async () => {
          const one = await submitAndWait(client, size, pids);
          measured.push(one);
          return one.rate;
        },
        core: () => arrayCyclesASecond(tasks),
      });
      const { worstMs, waitedMs } = await askDelay(server);
      const us = (/** @type {Part} */ part) => median(measured.map((one) => one.us[part])).toFixed(1);
      const note =
        `CPU a task: server ${us("server")}, governor ${us("governor")}, client ${us("client")} us; ` +
        `client ${mebibytes(median(measured.map(({ bytes }) => bytes)))} more; ` +
        `submit alone ${median(measured.map(({ submitS }) => submitS)).toFixed(2)} s; ` +
        `longest pause of the server's loop ${worstMs.toFixed(0)} ms (it waited ${waitedMs.toFixed(0)} ms in all for a cpu)`;
      const rates = measured.map(({ rate }) => rate);
      figures.push({
        figure: `dispatch of ${tasks.toLocaleString("en-US")}${titles[how]}`,
        value: median(rates),
        unit: "tasks/s",
        rounds: rates,
        peer: { name: "the server's core alone", value: median(core) },
        note,
      });
    }
    await client.close();
    return figures;
  },
};
export default benchmark;
