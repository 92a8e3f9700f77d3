import { execFile, spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { alternate, median, time } from "./support/figures.mjs";

// What `rain run` adds to each trial: a sweep of programs that print one line, and the same programs in a plain loop.

const CHUNK = 500;
const ROUNDS = 10;
const program = "/bin/echo";
const rain = fileURLToPath(new URL("../packages/cli/bin/rain.mjs", import.meta.url));
const run = promisify(execFile);

/**
 * The programs of one chunk, as many at once as the machine has cpus; their stdout is read.
 * @param {number} chunk
 */
async function plainLoop(chunk) {
  let next = 0;
  let lines = 0;
  const one = async () => {
    while (next < chunk) {
      const child = spawn(program, [String(next++)], { stdio: ["ignore", "pipe", "ignore"] });
      let text = "";
      child.stdout.on("data", (/** @type {Buffer} */ part) => (text += part.toString()));
      const code = await new Promise((resolve, reject) => child.once("close", resolve).once("error", reject));
      if (code !== 0) throw new Error(`${program} ended with ${code}`);
      lines += text.split("\n").length - 1;
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, one));
  if (lines !== chunk) throw new Error(`${lines} of ${chunk} lines came`);
}

/** @type {import("./support/child.mjs").Benchmark} */
const benchmark = {
  name: "run",
  what: "rain run: 5,000 trials that print one line, against a plain loop",
  run: async ({ newInstance, quick }) => {
    const chunk = quick ? CHUNK / 25 : CHUNK;
    const rounds = quick ? 1 : ROUNDS;
    const instance = newInstance();
    await instance.startServer();
    await instance.startGovernor();
    const options = { env: { ...process.env, RAIN_HOME: instance.home }, maxBuffer: 2 ** 28 };
    const sweep = async () => {
      const words = ["run", "--no-localdir", "--ignore_warnings", program, `range(${chunk})`];
      const { stdout } = await run(process.execPath, [rain, "--instance", "bench", ...words], options);
      const rows = stdout.split("\n").filter((line) => /^\*? +\d+ .* finished /.test(line));
      if (rows.length !== chunk) throw new Error(`${rows.length} of ${chunk} trials are in the table`);
    };
    await plainLoop(chunk); // warms up
    const took = await alternate(rounds, {
      rain: async () => (await time(sweep)) / chunk,
      plain: async () => (await time(() => plainLoop(chunk))) / chunk,
    });
    const plain = median(took.plain);
    const overhead = took.rain.map((value, round) => value - (took.plain[round] ?? 0));
    const peer = { name: "the same in a plain loop", value: plain };
    const note = `${rounds} runs of ${chunk} trials of ${program}, the whole command`;
    return [
      { figure: "rain run, a trial", value: median(took.rain), unit: "ms", rounds: took.rain, peer, note },
      { figure: "what Rain adds to a trial", value: median(overhead), unit: "ms", rounds: overhead, peer },
    ];
  },
};
export default benchmark;
