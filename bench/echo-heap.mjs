import { alternate, median, mebibytes } from "./support/figures.mjs";
import { echoes } from "./support/echoes.mjs";
import { residentBytes } from "./support/machine.mjs";
import { spawnLoop } from "./support/programs.mjs";

// A process copies its page tables when it forks, so whoever forks from a large heap becomes slow. A governor must not.

const TASKS = 1_000;
const ROUNDS = 3;
const HEAP = 2 * 2 ** 30;

/** @type {import("./support/child.mjs").Benchmark} */
const benchmark = {
  name: "echo-heap",
  what: "/bin/echo through a governor whose heap has 2 GB, beside one as it starts",
  run: async ({ dir, newInstance, quick }) => {
    const tasks = quick ? TASKS / 10 : TASKS;
    const spawn = await spawnLoop(dir, "pipe");
    const clients = [];
    let resident = 0;
    for (const heap of [0, quick ? HEAP / 16 : HEAP]) {
      const instance = newInstance();
      await instance.startServer();
      const governor = await instance.startGovernor({ heap });
      resident = residentBytes(governor.pid);
      const client = await instance.connect();
      await echoes(client, tasks / 5); // warms up
      clients.push(client);
    }
    const [plain, large] = clients;
    if (plain === undefined || large === undefined) throw new Error("two clusters are needed");
    const rates = await alternate(quick ? 1 : ROUNDS, {
      large: () => echoes(large, tasks),
      plain: () => echoes(plain, tasks),
      spawn: () => spawn.measure(tasks),
    });
    for (const client of clients) await client.close();
    const note = `as /bin/echo, 1 governor; ${mebibytes(resident)} of it are resident`;
    const row = {
      figure: "/bin/echo, governor of 2 GB",
      value: median(rates.large),
      unit: "tasks/s",
      rounds: rates.large,
      note,
    };
    return [
      { ...row, peer: { name: "a governor as it starts", value: median(rates.plain) } },
      { ...row, peer: { name: spawn.name, value: median(rates.spawn) } },
    ];
  },
};
export default benchmark;
