import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { alternate, median, time } from "./support/figures.mjs";

// The table of a large run, as a person waits for it: the whole command, from its start to its last line.

const TRIALS = 5_000;
const ROUNDS = 5;
const rain = fileURLToPath(new URL("../packages/cli/bin/rain.mjs", import.meta.url));
const run = promisify(execFile);

/**
 * A run with trials of two metrics and four parameters, all of them finished.
 * @param {import("@rain/client").Client} client
 * @param {number} count
 */
async function makeRun(client, count) {
  const parameters = ["lr", "layers", "dropout", "size"];
  const manifest = {
    v: 1,
    kind: "sweep",
    name: "bench-results",
    created: Date.now(),
    program: ["/bin/echo"],
    words: [],
    seed: 0,
    parameters,
    swept: parameters,
    metric: { name: "accuracy" },
    config: "",
    count,
  };
  const session = await client.newSession(manifest.name, {
    onError: "continue",
    detached: true,
    unique: true,
    user: { run: manifest },
  });
  for (let index = 0; index < count; index += 1) {
    const values = [index / count, index % 8, (index % 10) / 10, 2 ** (index % 6)];
    const params = Object.fromEntries(parameters.map((name, at) => [name, values[at] ?? 0]));
    const texts = Object.fromEntries(Object.entries(params).map(([name, value]) => [name, String(value)]));
    session.execute(["/bin/echo", `accuracy=${(index * 7919) % count} loss=${count / (index + 1)}`], {
      name: `${manifest.name}-exp${index}`,
      metrics: true,
      user: { trial: { index, params, texts } },
    });
  }
  await session.submit();
  await session.waitAll();
  return manifest.name;
}

/** @type {import("./support/child.mjs").Benchmark} */
const benchmark = {
  name: "results",
  what: "rain results of a run with 5,000 trials",
  run: async ({ newInstance, quick }) => {
    const count = quick ? TRIALS / 50 : TRIALS;
    const instance = newInstance();
    await instance.startServer();
    await instance.startGovernor();
    const client = await instance.connect();
    const name = await makeRun(client, count);
    await client.close();
    /** @param {string[]} args */
    const call = async (...args) => {
      const options = { env: { ...process.env, RAIN_HOME: instance.home }, maxBuffer: 2 ** 28 };
      return (await run(process.execPath, [rain, "--instance", "bench", ...args], options)).stdout;
    };
    const lines = (await call("results", name)).split("\n").filter((line) => line.includes("finished"));
    if (lines.length !== count) throw new Error(`${lines.length} of ${count} trials are in the table`);
    const seconds = await alternate(quick ? 1 : ROUNDS, {
      table: async () => (await time(() => call("results", name))) / 1000,
      csv: async () => (await time(() => call("results", name, "--csv"))) / 1000,
      nothing: async () => (await time(() => call("list"))) / 1000,
    });
    const peer = { name: "rain list", value: median(seconds.nothing) };
    const trials = count.toLocaleString("en-US");
    return [
      {
        figure: `rain results, ${trials} trials`,
        value: median(seconds.table),
        unit: "s",
        rounds: seconds.table,
        peer,
        note: "the whole command; 4 parameters, 2 metrics",
      },
      { figure: "the same as CSV", value: median(seconds.csv), unit: "s", rounds: seconds.csv, peer },
    ];
  },
};
export default benchmark;
