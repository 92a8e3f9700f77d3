import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { alternate, median, mebibytes, time } from "./support/figures.mjs";
import { QUEUED, QUEUED_ARRAY, submitQueued, submitQueuedArray } from "./support/queued.mjs";

// From the start of a process until it serves, with a journal of many tasks and with an empty one.

const ROUNDS = 3;

/** @param {string} folder */
const filesOf = (folder) =>
  readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile());

/**
 * Seconds from a killed server to one that serves again.
 * @param {import("./support/instance.mjs").Instance} instance
 */
async function restart(instance) {
  await instance.daemons[0]?.stop("SIGKILL");
  return (await time(() => instance.startServer())) / 1000;
}

/**
 * @param {import("./support/child.mjs").Bench} bench
 * @param {(session: import("@rain/client").Session, count: number) => Promise<unknown>} submitTasks
 * @param {number} count
 * @param {string} what
 */
async function measure({ newInstance, quick }, submitTasks, count, what) {
  const full = newInstance();
  const empty = newInstance();
  await empty.startServer();
  await full.startServer();
  const client = await full.connect();
  const session = await client.newSession("bench restart", { detached: true });
  const submit = await time(() => submitTasks(session, count));
  await client.close();

  const journal = filesOf(join(full.home, "bench", "journal"));
  const size = journal.reduce((sum, path) => sum + statSync(path).size, 0);
  const seconds = await alternate(quick ? 1 : ROUNDS, {
    full: () => restart(full),
    empty: () => restart(empty),
    read: async () => (await time(() => journal.map((path) => readFileSync(path)))) / 1000,
  });
  const check = await full.connect();
  const { sessions } = await check.serverInfo();
  await check.close();
  const found = sessions.reduce((sum, { counts }) => sum + (counts.ready ?? 0) + (counts.waiting ?? 0), 0);
  if (found !== count) throw new Error(`${found} of ${count} tasks are there after the restart`);
  for (const instance of [full, empty]) await instance.stop();

  const note = `killed and started again; journal of ${mebibytes(size)}, read alone in ${(median(seconds.read) * 1000).toFixed(0)} ms`;
  const tasks = `${count.toLocaleString("en-US")}${what}`;
  const peer = { name: "with an empty journal", value: median(seconds.empty) };
  return [
    { figure: `submit of ${tasks}`, value: count / (submit / 1000), unit: "tasks/s", rounds: [] },
    {
      figure: `start with ${tasks}`,
      value: median(seconds.full),
      unit: "s",
      rounds: seconds.full,
      peer,
      note,
    },
  ];
}

/** @type {import("./support/child.mjs").Benchmark} */
const benchmark = {
  name: "restart",
  what: "start of a server with a journal of 100,000 tasks, and of 1,000,000 in an array",
  run: async (bench) => {
    const [few, many] = bench.quick ? [QUEUED / 50, QUEUED_ARRAY / 50] : [QUEUED, QUEUED_ARRAY];
    return [
      ...(await measure(bench, submitQueued, few, "")),
      ...(await measure(bench, submitQueuedArray, many, " in an array")),
    ];
  },
};
export default benchmark;
