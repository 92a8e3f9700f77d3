import { readFileSync } from "node:fs";
import { median } from "./support/figures.mjs";
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

/**
 * @param {import("@rain/client").Client} client
 * @param {number} count
 */
async function submitAndWait(client, count) {
  const session = await client.newSession("bench dispatch");
  const tasks = Array.from({ length: count }, () => session.execute(["/bin/true"]));
  const begin = performance.now();
  await session.submit();
  const submitted = performance.now();
  await session.wait(tasks);
  const end = performance.now();
  await session.close();
  return { submitMs: submitted - begin, allMs: end - begin };
}

/** @type {import("./support/child.mjs").Benchmark} */
const benchmark = {
  name: "dispatch",
  what: "tasks without processes, through client, server, journal and a governor that runs nothing",
  run: async ({ newInstance }) => {
    const instance = newInstance();
    const server = await instance.startServer({ probe: true });
    const governor = await instance.startGovernor({ cpus: CPUS, zero: true });
    const client = await instance.connect();
    await submitAndWait(client, 5_000); // warms up
    const figures = [];
    for (const { tasks, rounds } of SIZES.slice(0, Number(process.env["SIZES"] ?? 3))) {
      /** @type {Record<"rate" | "submit" | "server" | "governor" | "client", number[]>} */
      const values = { rate: [], submit: [], server: [], governor: [], client: [] };
      let worst = 0;
      for (let round = 0; round < rounds; round += 1) {
        await askDelay(server);
        const pids = { server: server.pid, governor: governor.pid, client: process.pid };
        const before = Object.entries(pids).map(([name, pid]) => ({ name, pid, ms: cpuMs(pid) }));
        const { submitMs, allMs } = await submitAndWait(client, tasks);
        values.rate.push(tasks / (allMs / 1000));
        values.submit.push(tasks / (submitMs / 1000));
        for (const { name, pid, ms } of before)
          values[/** @type {"server" | "governor" | "client"} */ (name)].push(
            ((cpuMs(pid) - ms) * 1000) / tasks,
          );
        worst = Math.max(worst, await askDelay(server));
      }
      const note =
        `CPU a task: server ${median(values.server).toFixed(1)}, governor ${median(values.governor).toFixed(1)}, ` +
        `client ${median(values.client).toFixed(1)} us; longest pause of the server's loop ${worst.toFixed(0)} ms; ` +
        `submit alone ${Math.round(median(values.submit)).toLocaleString("en-US")}/s`;
      figures.push({
        figure: `dispatch of ${tasks.toLocaleString("en-US")}`,
        value: median(values.rate),
        unit: "tasks/s",
        rounds: values.rate,
        note,
      });
    }
    await client.close();
    return figures;
  },
};
export default benchmark;
