import { execFile } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { inputDir, outputDir } from "@rain/client";
import { settle, startFileServer } from "./support/files.mjs";
import { alternate, median, time } from "./support/figures.mjs";

// One large directory that a governor made, to four others at once. Beside it four curls that read a tar of that size
// from a plain file server and unpack it.

const MIB = 1_024;
const QUICK_MIB = 64;
const FILES = 64;
const READERS = 4;
const ROUNDS = 2;
/** Of the directory; set before anything is measured. */
let mib = MIB;
const run = promisify(execFile);

const fillTree = (/** @type {string} */ dir) =>
  `mkdir -p ${dir}; i=0; while [ $i -lt ${FILES} ]; do head -c ${(mib / FILES) * 1_048_576} /dev/urandom > ${dir}/$i; i=$((i+1)); done`;

/** @param {number} took milliseconds */
const rate = (took) => (READERS * mib) / (took / 1000);
/** The bytes of every reader, packed and unpacked. */
const begin = () => settle(2 * READERS * mib);

/** @param {import("@rain/client").Client} client */
async function fanOut(client) {
  const session = await client.newSession("bench fanout");
  const made = session.execute(["sh", "-c", fillTree("tree")], {
    outputPaths: [outputDir("tree")],
    labels: { side: "source" },
  });
  made.output.keep();
  await session.submit();
  await made.wait();
  begin();
  const took = await time(async () => {
    const counts = Array.from({ length: READERS }, (_, i) => {
      const tree = inputDir("tree", { path: "tree", object: made.output, shared: true });
      const task = session.execute(["sh", "-c", "ls tree/ | wc -l"], {
        inputPaths: [tree],
        stdout: true,
        labels: { side: `reader${i}` },
      });
      task.output.keep();
      return task;
    });
    await session.submit();
    for (const task of counts) {
      const text = (await task.output.fetch()).text();
      if (Number(text) !== FILES) throw new Error(`${FILES} files were sent, a task saw ${text}`);
    }
  });
  await session.close();
  return rate(took);
}

/** @type {import("./support/child.mjs").Benchmark} */
const benchmark = {
  name: "fanout",
  what: "a directory of 1 GiB from one governor to four others",
  run: async ({ dir, newInstance, quick }) => {
    if (quick) mib = QUICK_MIB;
    const instance = newInstance();
    await instance.startServer();
    const sides = ["source", ...Array.from({ length: READERS }, (_, i) => `reader${i}`)];
    for (const side of sides) await instance.startGovernor({ cpus: 1, labels: { side } });
    const client = await instance.connect();
    await run("sh", ["-c", fillTree(join(dir, "tree"))]);
    await run("tar", ["-C", dir, "-cf", join(dir, "tree.tar"), "tree"]);
    rmSync(join(dir, "tree"), { recursive: true });
    const files = await startFileServer(dir);
    const curls = async () => {
      const copies = Array.from({ length: READERS }, (_, i) => join(dir, `copy${i}`));
      for (const copy of copies) mkdirSync(copy);
      begin();
      const took = await time(() =>
        Promise.all(
          copies.map(async (copy) => {
            await files.curl("tree.tar", join(copy, "tar"), { keep: true });
            await run("tar", ["-C", copy, "-xf", join(copy, "tar")]);
          }),
        ),
      );
      for (const copy of copies) rmSync(copy, { recursive: true });
      return rate(took);
    };
    const rates = await alternate(quick ? 1 : ROUNDS, { rain: () => fanOut(client), curls });
    files.stop();
    await client.close();
    return [
      {
        figure: `${mib === MIB ? "1 GiB" : `${mib} MiB`} directory to 4 governors`,
        value: median(rates.rain),
        unit: "MiB/s",
        rounds: rates.rain,
        peer: { name: "node:http to 4 curls, then tar", value: median(rates.curls) },
        note: "all four together, unpacked; random bytes, checked by their SHA-256",
      },
    ];
  },
};
export default benchmark;
