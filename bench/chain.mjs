import { blob } from "@rain/client";
import { median, time } from "./support/figures.mjs";
import { roundTrips, syncTimes } from "./support/limits.mjs";

// A chain: nothing runs beside anything, so each link costs a full turn of server and governor.

const LENGTH = 1_000;
const ROUNDS = 3;

/**
 * @param {import("@rain/client").Client} client
 * @param {number} length
 */
async function runChain(client, length) {
  const session = await client.newSession("bench chain");
  const took = await time(async () => {
    let last = session.sleep(blob("end"), 0);
    for (let i = 1; i < length; i += 1) last = session.sleep(last, 0);
    last.output.keep();
    await session.submit();
    const text = (await last.output.fetch()).text();
    if (text !== "end") throw new Error(`the chain ended with ${JSON.stringify(text)}`);
  });
  await session.close();
  return length / (took / 1000);
}

/** @type {import("./support/child.mjs").Benchmark} */
const benchmark = {
  name: "chain",
  what: "a chain of 1,000 tasks, each fed by the one before",
  run: async ({ dir, newInstance }) => {
    const instance = newInstance();
    await instance.startServer();
    await instance.startGovernor();
    const client = await instance.connect();
    await runChain(client, 200); // warms up
    const rates = [];
    const turns = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      rates.push(await runChain(client, LENGTH));
      turns.push(median(syncTimes(dir, 50)) + median(await roundTrips(200)));
    }
    await client.close();
    const peer = { name: "1 fdatasync + 1 round trip each", value: 1000 / median(turns) };
    const note = `sleep 0, ${LENGTH.toLocaleString("en-US")} in one submit, until the last output is fetched`;
    return [{ figure: "chain of 1,000", value: median(rates), unit: "tasks/s", rounds: rates, peer, note }];
  },
};
export default benchmark;
