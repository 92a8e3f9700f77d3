import { join } from "node:path";
import { input } from "@rain/client";
import { fillFile, settle, startFileServer } from "./support/files.mjs";
import { alternate, median, time } from "./support/figures.mjs";

// One large object that a governor made: into a task on another governor, and to the client. Beside it the same number
// of bytes from a plain file server to curl.

const MIB = 1_024;
const QUICK_MIB = 16;
const ROUNDS = 3;
/** Of the object; set before anything is measured. */
let mib = MIB;
const size = () => (mib === MIB ? "1 GiB" : `${mib} MiB`);
const bytes = () => mib * 1_048_576;

/** @param {number} took milliseconds */
const rate = (took) => mib / (took / 1000);
/** The sender's and the reader's bytes. */
const begin = () => settle(2 * mib);

/**
 * @param {import("@rain/client").Client} client
 * @param {(session: import("@rain/client").Session, made: import("@rain/client").Task) => Promise<void>} use
 */
async function withObject(client, use) {
  const session = await client.newSession("bench transfer");
  const made = session.execute(["sh", "-c", `head -c ${bytes()} /dev/urandom > out`], {
    outputPaths: ["out"],
    labels: { side: "a" },
  });
  made.output.keep();
  await session.submit();
  await made.wait();
  begin();
  const took = await time(() => use(session, made));
  await session.close();
  return rate(took);
}

/** @param {import("@rain/client").Client} client */
const intoTask = (client) =>
  withObject(client, async (session, made) => {
    const big = input("big", { path: "big", object: made.output });
    const count = session.execute(["wc", "-c", big], { stdout: true, labels: { side: "b" } });
    count.output.keep();
    await session.submit();
    const text = (await count.output.fetch()).text();
    if (!text.startsWith(`${bytes()} `))
      throw new Error(`${bytes()} bytes went in, the task counted ${text}`);
  });

/** @param {import("@rain/client").Client} client */
const toClient = (client) =>
  withObject(client, async (_session, made) => {
    const instance = await made.output.fetch();
    if (instance.size !== bytes()) throw new Error(`${bytes()} bytes were made, ${instance.size} came`);
    await instance.close();
  });

/** @type {import("./support/child.mjs").Benchmark} */
const benchmark = {
  name: "transfer",
  what: "1 GiB from one governor into a task on another, and to the client",
  run: async ({ dir, newInstance, quick }) => {
    if (quick) mib = QUICK_MIB;
    const instance = newInstance();
    await instance.startServer();
    for (const side of ["a", "b"]) await instance.startGovernor({ cpus: 1, labels: { side } });
    const client = await instance.connect();
    fillFile(join(dir, "big"), bytes());
    const files = await startFileServer(dir);
    /** @param {string} to */
    const curl = async (to) => {
      begin();
      return rate(await time(() => files.curl("big", to)));
    };
    const rates = await alternate(quick ? 1 : ROUNDS, {
      task: () => intoTask(client),
      file: () => curl(join(dir, "copy")),
      client: () => toClient(client),
      nowhere: () => curl("/dev/null"),
    });
    files.stop();
    await client.close();
    const file = { name: "node:http to curl, a file", value: median(rates.file) };
    const nowhere = { name: "node:http to curl, /dev/null", value: median(rates.nowhere) };
    const task = {
      figure: `${size()} to another governor`,
      value: median(rates.task),
      unit: "MiB/s",
      rounds: rates.task,
      note: "random bytes, checked by their SHA-256, until the task's output is fetched",
    };
    const fetched = {
      figure: `${size()} to the client`,
      value: median(rates.client),
      unit: "MiB/s",
      rounds: rates.client,
      note: "random bytes, checked by their SHA-256, through the server into a file",
    };
    return [
      { ...task, peer: file },
      { ...task, peer: nowhere },
      { ...fetched, peer: file },
      { ...fetched, peer: nowhere },
    ];
  },
};
export default benchmark;
