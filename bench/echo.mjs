import { availableParallelism } from "node:os";
import { alternate, median } from "./support/figures.mjs";
import { folderRate } from "./support/limits.mjs";
import { spawnLoop, xargs } from "./support/programs.mjs";

// Programs a second, with all that Rain does for each: a folder of its own, its output captured, journaled, fetched.

const TASKS = 1_000;
const PEER_TASKS = 1_000;
const ROUNDS = 3;

/**
 * @param {import("@rain/client").Client} client
 * @param {number} count
 */
async function echoes(client, count) {
  const session = await client.newSession("bench echo");
  const begin = performance.now();
  const tasks = Array.from({ length: count }, () =>
    session.execute(["/bin/echo", "hello"], { stdout: true }),
  );
  for (const task of tasks) task.output.keep();
  await session.submit();
  const texts = await Promise.all(tasks.map(async (task) => (await task.output.fetch()).text()));
  const seconds = (performance.now() - begin) / 1000;
  if (!texts.every((text) => text === "hello\n")) throw new Error("an output is not what /bin/echo wrote");
  await session.close();
  return count / seconds;
}

/** @type {import("./support/child.mjs").Benchmark} */
const benchmark = {
  name: "echo",
  what: "/bin/echo with its output captured and fetched, beside a C posix_spawn loop and xargs",
  run: async ({ dir, newInstance }) => {
    const cpus = availableParallelism();
    const pipe = await spawnLoop(dir, "pipe");
    const quiet = await spawnLoop(dir, "null");
    const parallel = await xargs(cpus);
    const instance = newInstance();
    await instance.startServer();
    await instance.startGovernor();
    const client = await instance.connect();
    await echoes(client, 200); // warms up
    const rates = await alternate(ROUNDS, {
      rain: () => echoes(client, TASKS),
      pipe: () => pipe.measure(PEER_TASKS),
      quiet: () => quiet.measure(PEER_TASKS),
      folders: () => folderRate(dir, 500),
      parallel: () => parallel?.measure(PEER_TASKS) ?? 0,
    });
    await client.close();
    const note = `${TASKS.toLocaleString("en-US")} tasks in one submit, from the first line of the script to the last byte fetched; ${cpus} cpus`;
    const rain = {
      figure: "/bin/echo",
      value: median(rates.rain),
      unit: "tasks/s",
      rounds: rates.rain,
      note,
    };
    return [
      { ...rain, peer: { name: pipe.name, value: median(rates.pipe) } },
      { ...rain, peer: { name: "folders and files of a task", value: median(rates.folders) } },
      { ...rain, peer: { name: quiet.name, value: median(rates.quiet) } },
      ...(parallel ? [{ ...rain, peer: { name: parallel.name, value: median(rates.parallel) } }] : []),
    ];
  },
};
export default benchmark;
