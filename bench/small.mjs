import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { input } from "@rain/client";
import { fillFolder, startFileServer } from "./support/files.mjs";
import { alternate, median, time } from "./support/figures.mjs";

// Many small objects: from the tasks that made them into tasks on another governor, and to the client. Beside it as many
// files of that size from a plain file server to one curl, which asks for one after the other over one connection.

const OBJECTS = 20_000;
const QUICK_OBJECTS = 2_000;
const BYTES = 1_024;
const A_TASK = 1_000;
const ROUNDS = 2;
const PEER_FILES = 10_000;
/** How many there are; set before anything is measured. */
let count = OBJECTS;
let peerFiles = PEER_FILES;

const makeFiles = `i=0; while [ $i -lt ${A_TASK} ]; do printf "%-${BYTES}s" "$0 $i" > $i; i=$((i+1)); done`;

/**
 * Tasks that make the objects, all finished.
 * @param {import("@rain/client").Client} client
 */
async function withObjects(client) {
  const session = await client.newSession("bench small");
  const outputPaths = Array.from({ length: A_TASK }, (_, i) => String(i));
  const makers = Array.from({ length: count / A_TASK }, (_, i) =>
    session.execute(["sh", "-c", makeFiles, String(i)], { outputPaths, labels: { side: "a" } }),
  );
  const objects = makers.map(({ outputs }) => outputPaths.map((_, i) => outputs.at(i).keep()));
  await session.submit();
  await session.waitAll();
  return { session, objects };
}

/** @param {import("@rain/client").Client} client */
async function intoTasks(client) {
  const { session, objects } = await withObjects(client);
  const took = await time(async () => {
    const counts = objects.map((some) => {
      const inputs = some.map((object, i) => input(String(i), { path: `in/${i}`, object }));
      const script = "cat in/* | wc -c";
      const task = session.execute(["sh", "-c", script], {
        inputPaths: inputs,
        stdout: true,
        labels: { side: "b" },
      });
      task.output.keep();
      return task;
    });
    await session.submit();
    const texts = await Promise.all(counts.map(async (task) => (await task.output.fetch()).text()));
    if (!texts.every((text) => Number(text) === A_TASK * BYTES)) throw new Error("bytes are missing");
  });
  await session.close();
  return count / (took / 1000);
}

/** @param {import("@rain/client").Client} client */
async function toClient(client) {
  const { session, objects } = await withObjects(client);
  const took = await time(async () => {
    const sizes = await Promise.all(objects.flat().map(async (object) => (await object.fetch()).size));
    if (!sizes.every((size) => size === BYTES)) throw new Error("bytes are missing");
  });
  await session.close();
  return count / (took / 1000);
}

/** @type {import("./support/child.mjs").Benchmark} */
const benchmark = {
  name: "small",
  what: "20,000 objects of 1 KiB into tasks on another governor, and to the client",
  run: async ({ dir, newInstance, quick }) => {
    if (quick) [count, peerFiles] = [QUICK_OBJECTS, QUICK_OBJECTS / 2];
    const instance = newInstance();
    await instance.startServer();
    for (const side of ["a", "b"]) await instance.startGovernor({ cpus: 1, labels: { side } });
    const client = await instance.connect();
    fillFolder(join(dir, "files"), peerFiles, BYTES);
    const files = await startFileServer(join(dir, "files"));
    const range = `[0-${peerFiles - 1}]`;
    const toFiles = async () => {
      const copies = join(dir, "copies");
      mkdirSync(copies);
      const took = await time(() => files.curlMany(range, join(copies, "#1")));
      rmSync(copies, { recursive: true });
      return peerFiles / (took / 1000);
    };
    const rates = await alternate(quick ? 1 : ROUNDS, {
      tasks: () => intoTasks(client),
      files: toFiles,
      client: () => toClient(client),
      nowhere: async () => peerFiles / ((await time(() => files.curlMany(range, "/dev/null"))) / 1000),
    });
    files.stop();
    await client.close();
    const objects = count.toLocaleString("en-US");
    return [
      {
        figure: `${objects} objects to another governor`,
        value: median(rates.tasks),
        unit: "objects/s",
        rounds: rates.tasks,
        peer: { name: "node:http to curl, files", value: median(rates.files) },
        note: `${BYTES} bytes each, ${A_TASK.toLocaleString("en-US")} a task, mapped as files, until the outputs are fetched`,
      },
      {
        figure: `${objects} objects to the client`,
        value: median(rates.client),
        unit: "objects/s",
        rounds: rates.client,
        peer: { name: "node:http to curl, /dev/null", value: median(rates.nowhere) },
        note: `${BYTES} bytes each, each fetched on its own`,
      },
    ];
  },
};
export default benchmark;
