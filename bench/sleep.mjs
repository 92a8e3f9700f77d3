import { blob } from "@rain/client";
import { median, time } from "./support/figures.mjs";
import { roundTrips } from "./support/limits.mjs";

// Wide and flat: 10,000 tasks that do nothing, and one that merges what they made.

const TASKS = 10_000;
const WIDE = 64;
const ROUNDS = 2;

/**
 * @param {import("@rain/client").Client} client
 * @param {number} count
 */
async function runWide(client, count) {
  const session = await client.newSession("bench sleep");
  const digits = Array.from({ length: 10 }, (_, digit) => blob(String(digit)));
  const took = await time(async () => {
    const tasks = Array.from({ length: count }, (_, i) => session.sleep(digits[i % 10] ?? blob("x"), 0));
    const merged = session.concat(tasks).output;
    merged.keep();
    await session.submit();
    const text = (await merged.fetch()).text();
    if (text !== "0123456789".repeat(count / 10)) throw new Error("the merged output is not in order");
  });
  await session.close();
  return count / (took / 1000);
}

/** @type {import("./support/child.mjs").Benchmark} */
const benchmark = {
  name: "sleep",
  what: "10,000 sleep 0 tasks and a merge of their outputs",
  run: async ({ newInstance }) => {
    // Two clusters side by side, so that rounds alternate: a governor as the machine is, and a wide one.
    const clusters = [];
    for (const cpus of [undefined, WIDE]) {
      const instance = newInstance();
      await instance.startServer();
      await instance.startGovernor(cpus === undefined ? {} : { cpus });
      const client = await instance.connect();
      await runWide(client, 1_000); // warms up
      clusters.push({ cpus, client, rates: /** @type {number[]} */ ([]) });
    }
    const trips = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const { client, rates } of clusters) rates.push(await runWide(client, TASKS));
      trips.push(median(await roundTrips(200)));
    }
    for (const { client } of clusters) await client.close();
    const peer = { name: "1 round trip each, one by one", value: 1000 / median(trips) };
    const note = `${TASKS.toLocaleString("en-US")} tasks in one submit, until the merged bytes are fetched and checked`;
    return clusters.map(({ cpus, rates }) => ({
      figure: `sleep 0 + merge, ${cpus === undefined ? "cpus of the machine" : `${cpus} cpus declared`}`,
      value: median(rates),
      unit: "tasks/s",
      rounds: rates,
      peer,
      note,
    }));
  },
};
export default benchmark;
