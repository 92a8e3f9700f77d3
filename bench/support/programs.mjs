import { execFile } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const source = fileURLToPath(new URL("../posix_spawn.c", import.meta.url));

/**
 * Is there such a program?
 * @param {string} name
 */
async function exists(name) {
  try {
    await run("/bin/sh", ["-c", `command -v ${name}`]);
    return true;
  } catch (error) {
    if (typeof (/** @type {{ code?: unknown }} */ (error).code) === "number") return false;
    throw error;
  }
}

/**
 * Other ways to run `/bin/echo hello`: each gives executes a second for so many.
 * @typedef {{ readonly name: string, readonly measure: (count: number) => Promise<number> }} Spawner
 */

/**
 * The C loop, or a shell's loop where there is no C compiler.
 * @param {string} dir where the C program is built
 * @param {"pipe" | "null"} output
 * @returns {Promise<Spawner>}
 */
export async function spawnLoop(dir, output) {
  if (!(await exists("cc"))) return shellLoop(output);
  const program = join(dir, "posix_spawn");
  await run("cc", ["-O2", "-o", program, source]);
  return {
    name: `C posix_spawn loop, ${output === "pipe" ? "read by pipe" : "to /dev/null"}`,
    measure: async (count) => count / Number((await run(program, [output, String(count)])).stdout),
  };
}

/**
 * @param {"pipe" | "null"} output
 * @returns {Spawner}
 */
function shellLoop(output) {
  const body = output === "pipe" ? "x=$(/bin/echo hello)" : "/bin/echo hello >/dev/null";
  const script = `i=0; while [ $i -lt "$1" ]; do ${body}; i=$((i+1)); done`;
  return {
    name: `sh loop (no cc here), ${output === "pipe" ? "read by pipe" : "to /dev/null"}`,
    measure: (count) => timed(count, "/bin/sh", ["-c", script, "sh", String(count)]),
  };
}

/**
 * `xargs` with so many at once.
 * @param {number} parallel
 * @returns {Promise<Spawner | import("./figures.mjs").Missing>}
 */
export async function xargs(parallel) {
  if (!(await exists("xargs"))) return { name: "xargs", missing: "apt-get install findutils" };
  const script = `yes hello | head -n "$1" | xargs -P ${parallel} -n 1 /bin/echo >/dev/null`;
  return {
    name: `xargs -P${parallel}, to /dev/null`,
    measure: (count) => timed(count, "/bin/sh", ["-c", script, "sh", String(count)]),
  };
}

/**
 * GNU parallel with so many at once, which collects the output of each; all of it is read here.
 * @param {number} parallel
 * @returns {Promise<Spawner | import("./figures.mjs").Missing>}
 */
export async function gnuParallel(parallel) {
  // Another program of this name, of moreutils, has other options.
  const found = (await exists("parallel")) && (await run("parallel", ["--version"])).stdout.startsWith("GNU");
  if (!found) return { name: "GNU parallel", missing: "apt-get install parallel" };
  const script = `yes hello | head -n "$1" | parallel --will-cite -j ${parallel} /bin/echo`;
  return {
    name: `GNU parallel -j${parallel}`,
    measure: async (count) => {
      const begin = performance.now();
      const { stdout } = await run("/bin/sh", ["-c", script, "sh", String(count)]);
      const seconds = (performance.now() - begin) / 1000;
      if (stdout !== "hello\n".repeat(count)) throw new Error("an output is not what /bin/echo wrote");
      return count / seconds;
    },
  };
}

/**
 * @param {number} count
 * @param {string} file
 * @param {readonly string[]} args
 */
async function timed(count, file, args) {
  const begin = performance.now();
  await run(file, args);
  return count / ((performance.now() - begin) / 1000);
}
