import { readFileSync } from "node:fs";
import { arrayCyclesASecond } from "./core.mjs";
import { alternate, median } from "./support/figures.mjs";
import { askDelay } from "./support/instance.mjs";

// What a task costs beside its program: a governor that runs nothing and says so at once, and everything else as it is:
// client, server with its journal, messages both ways.

const CPUS = 64;
/** Tasks of one measurement, and how often it is done. */
const SIZES = [
  { tasks: 10_000, rounds: 5 },
  { tasks: 100_000, rounds: 3 },
  { tasks: 1_000_000, rounds: 1 },
];

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
 * One measurement: from the call of `submit` until the client knows that all have finished.
 * @param {import("@rain/client").Client} client
 * @param {number} count
 * @param {Readonly<Record<Part, number>>} pids
 */
async function submitAndWait(client, count, pids) {
  const session = await client.newSession("bench dispatch");
  const tasks = Array.from({ length: count }, () => session.execute(["/bin/true"]));
  const parts = /** @type {readonly Part[]} */ (Object.keys(pids));
  const before = parts.map((part) => cpuMs(pids[part]));
  const begin = performance.now();
  await session.submit();
  const submitted = performance.now();
  await session.wait(tasks);
  const end = performance.now();
  const us = /** @type {Record<Part, number>} */ ({});
  for (const [at, part] of parts.entries())
    us[part] = ((cpuMs(pids[part]) - (before[at] ?? 0)) * 1000) / count;
  await session.close();
  return { submits: count / ((submitted - begin) / 1000), rate: count / ((end - begin) / 1000), us };
}

/** @type {import("./support/child.mjs").Benchmark} */
const benchmark = {
  name: "dispatch",
  what: "tasks without processes: client, server, journal, messages, a governor that runs nothing",
  run: async ({ newInstance }) => {
    const instance = newInstance();
    const server = await instance.startServer({ probe: true });
    const governor = await instance.startGovernor({ cpus: CPUS, zero: true });
    const client = await instance.connect();
    const pids = { server: server.pid, governor: governor.pid, client: process.pid };
    await submitAndWait(client, 5_000, pids); // warms up
    const figures = [];
    for (const { tasks, rounds } of SIZES) {
      await askDelay(server);
      /** @type {Awaited<ReturnType<typeof submitAndWait>>[]} */
      const measured = [];
      const { core } = await alternate(rounds, {
        all: async () => {
          const one = await submitAndWait(client, tasks, pids);
          measured.push(one);
          return one.rate;
        },
        core: () => arrayCyclesASecond(tasks),
      });
      const { worstMs, waitedMs } = await askDelay(server);
      const us = (/** @type {Part} */ part) => median(measured.map((one) => one.us[part])).toFixed(1);
      const note =
        `CPU a task: server ${us("server")}, governor ${us("governor")}, client ${us("client")} us; ` +
        `submit alone ${Math.round(median(measured.map(({ submits }) => submits))).toLocaleString("en-US")}/s; ` +
        `longest pause of the server's loop ${worstMs.toFixed(0)} ms (it waited ${waitedMs.toFixed(0)} ms in all for a cpu)`;
      const rates = measured.map(({ rate }) => rate);
      figures.push({
        figure: `dispatch of ${tasks.toLocaleString("en-US")}`,
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
