import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { input } from "@rain/client";
import { median, time } from "./support/figures.mjs";

// A large object that one governor made goes into a task on another, beside a local copy that is hashed once.

const MIB = 1024;
const ROUNDS = 3;
const BYTES = MIB * 1_048_576;

/** @param {string} path */
const fill = (path) => execFileSync("sh", ["-c", `head -c ${BYTES} /dev/urandom > "$0"`, path]);

/** @param {string} dir */
async function copyAndHash(dir) {
  const [from, to] = [join(dir, "from"), join(dir, "to")];
  fill(from);
  const took = await time(async () => {
    execFileSync("cp", [from, to]);
    execFileSync("sha256sum", [to]);
  });
  for (const path of [from, to]) rmSync(path);
  return MIB / (took / 1000);
}

/** @param {import("@rain/client").Client} client */
async function throughTask(client) {
  const session = await client.newSession("bench transfer");
  const made = session.execute(["sh", "-c", `head -c ${BYTES} /dev/urandom > out`], {
    outputPaths: ["out"],
    labels: { side: "a" },
  });
  made.output.keep();
  await session.submit();
  await made.wait();
  const took = await time(async () => {
    const big = input("big", { path: "big", object: made.output });
    const count = session.execute(["wc", "-c", big], { stdout: true, labels: { side: "b" } });
    count.output.keep();
    await session.submit();
    const text = (await count.output.fetch()).text();
    if (!text.startsWith(`${BYTES} `)) throw new Error(`${BYTES} bytes went in, the task counted ${text}`);
  });
  await session.close();
  return MIB / (took / 1000);
}

/** @type {import("./support/child.mjs").Benchmark} */
const benchmark = {
  name: "transfer",
  what: "1 GiB from one governor into a task on another",
  run: async ({ dir, newInstance }) => {
    const instance = newInstance();
    await instance.startServer();
    for (const side of ["a", "b"]) await instance.startGovernor({ cpus: 1, labels: { side } });
    const client = await instance.connect();
    const rates = [];
    const copies = [];
    for (let round = 0; round < ROUNDS; round += 1) {
      copies.push(await copyAndHash(dir));
      rates.push(await throughTask(client));
    }
    await client.close();
    const peer = { name: "cp + sha256sum", value: median(copies) };
    const note = "random bytes, until the task's output is fetched";
    return [
      { figure: "1 GiB to another governor", value: median(rates), unit: "MiB/s", rounds: rates, peer, note },
    ];
  },
};
export default benchmark;
