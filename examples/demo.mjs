#!/usr/bin/env node
/**
 * Rain in one command, after a build: starts a server and a governor in a private
 * folder, runs the digits sweep on them, shows their status, stops everything.
 * Only the results stay, in a fresh folder.
 *
 *     npm run demo [-- --out DIR]
 *
 * Exit status: 0 twenty results, the best at least 95 % right, and nothing left
 * running; 1 not so; 2 wrong arguments; 128 + N stopped by signal N.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, realpathSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join, relative, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

const ROOT = resolve(import.meta.dirname, "..");
const RAIN = join(ROOT, "packages/cli/bin/rain.mjs");
const SWEEP = join(ROOT, "examples/digits/sweep.mjs");
const EXPECTED = { results: 20, accuracy: 0.95 };
const LIMIT_S = { start: 60, sweep: 600, status: 60, stop: 60, settle: 5, interrupted: 10 };

/** What is wrong with the demo, in words for its user. */
class DemoError extends Error {}

// ------------------------------------------------------------------- folders

/**
 * The folder for the results: new, or empty if it was named.
 *
 * @param {string | undefined} named
 */
function createResultsFolder(named) {
  if (named !== undefined) {
    mkdirSync(named, { recursive: true });
    if (readdirSync(named).length > 0) throw new DemoError(`--out ${named}: the folder must be new or empty`);
    return named;
  }
  for (let n = 1; ; n++) {
    const folder = n === 1 ? "rain-demo" : `rain-demo-${n}`;
    try {
      mkdirSync(folder);
      return folder;
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
    }
  }
}

/**
 * The caller's environment, but no instance of Rain except the one under `home`.
 *
 * @param {string} home
 */
function environment(home) {
  const entries = Object.entries(process.env).filter(([name]) => !name.startsWith("RAIN_"));
  const temporary = join(home, "tmp");
  mkdirSync(temporary, { mode: 0o700 });
  return { ...Object.fromEntries(entries), RAIN_HOME: home, TMPDIR: temporary };
}

// ----------------------------------------------------------------- processes

/**
 * Runs a script with this Node to its end.
 *
 * @param {string} title
 * @param {string[]} args
 * @param {object} options
 * @param {NodeJS.ProcessEnv} options.env
 * @param {number} options.limitS
 * @param {AbortSignal} [options.signal]   without one, no Ctrl-C reaches the program either
 */
function run(title, args, { env, limitS, signal }) {
  signal?.throwIfAborted();
  return new Promise((done, fail) => {
    const child = spawn(process.execPath, args, {
      env,
      stdio: ["ignore", "inherit", "inherit"],
      detached: signal === undefined,
    });
    let late = false;
    const timers = [setTimeout(() => (late = child.kill("SIGKILL")), limitS * 1000)];
    const interrupt = () => {
      child.kill("SIGTERM");
      timers.push(setTimeout(() => child.kill("SIGKILL"), LIMIT_S.interrupted * 1000));
    };
    signal?.addEventListener("abort", interrupt);
    /** @param {Error | undefined} error */
    const settle = (error) => {
      for (const timer of timers) clearTimeout(timer);
      signal?.removeEventListener("abort", interrupt);
      if (error) fail(error);
      else done(undefined);
    };
    child.once("error", (error) => settle(new DemoError(`${title} cannot be started: ${error.message}`)));
    child.once("close", (code, killedBy) => {
      if (code === 0) settle(undefined);
      else if (late) settle(new DemoError(`${title} took longer than ${limitS} s`));
      else settle(new DemoError(`${title} failed: ${killedBy ?? `exit status ${code}`}`));
    });
  });
}

/**
 * Processes that carry our private RAIN_HOME. Linux only; elsewhere none is seen.
 *
 * @param {string} home
 */
function processesOf(home) {
  if (!existsSync("/proc/self/environ")) return [];
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, "latin1").split("\0").includes(`RAIN_HOME=${home}`);
      } catch {
        return false; // it has ended, or it is another user's
      }
    })
    .map(Number);
}

/**
 * Stops the instance and removes its folder, whatever happened before.
 *
 * @param {string} home
 * @param {NodeJS.ProcessEnv} env
 */
async function cleanUp(home, env) {
  /** @type {unknown} */
  let problem;
  try {
    await run("rain stop", [RAIN, "stop"], { env, limitS: LIMIT_S.stop });
  } catch (error) {
    problem = error;
  }
  const deadline = Date.now() + LIMIT_S.settle * 1000;
  while (processesOf(home).length > 0 && Date.now() < deadline) await sleep(50);
  const left = processesOf(home);
  for (const pid of left) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // it has ended meanwhile
    }
  }
  if (left.length > 0) {
    const why = problem instanceof Error ? `${problem.message}; ` : "";
    problem = new DemoError(`${why}processes still running after rain stop, now killed: ${left.join(", ")}`);
  }
  rmSync(home, { recursive: true, force: true, maxRetries: 5 });
  if (problem) throw problem;
}

// ---------------------------------------------------------------------- demo

/**
 * @param {string} out
 * @param {AbortSignal} signal
 */
async function demo(out, signal) {
  const home = mkdtempSync(join(realpathSync(tmpdir()), "rain-demo-"));
  const env = environment(home);
  /** @type {unknown} */
  let problem;
  try {
    // Not interruptible: a half-started instance would be harder to stop than a whole one.
    await run("rain start", [RAIN, "start", "--simple", "--listen", "127.0.0.1:0"], {
      env,
      limitS: LIMIT_S.start,
    });
    await run("the sweep", [SWEEP, "--out", out], { env, limitS: LIMIT_S.sweep, signal });
    console.log("");
    await run("rain status", [RAIN, "status"], { env, limitS: LIMIT_S.status, signal });
  } catch (error) {
    problem = error;
  }
  try {
    await cleanUp(home, env);
  } catch (error) {
    if (problem) console.error(`demo: ${error instanceof Error ? error.message : String(error)}`);
    problem ??= error;
  }
  signal.throwIfAborted();
  if (problem) throw problem;
}

/**
 * Reads the results back from the file, as a user would.
 *
 * @param {string} out
 */
function check(out) {
  const rows = readFileSync(join(out, "results.csv"), "utf8").trim().split("\n").slice(1);
  const accuracies = rows.map((row) => Number(row.split(",")[2])).filter(Number.isFinite);
  const best = Math.max(...accuracies);
  if (accuracies.length !== EXPECTED.results || !(best >= EXPECTED.accuracy)) {
    throw new DemoError(
      `${accuracies.length} results with a best accuracy of ${best}; ` +
        `${EXPECTED.results} results and at least ${EXPECTED.accuracy} were expected`,
    );
  }
  return { count: accuracies.length, best };
}

/** @param {string[]} args */
async function main(args) {
  const began = performance.now();
  const { values } = parseArgs({ args, options: { out: { type: "string" } } });
  if (!existsSync(RAIN)) throw new DemoError(`${relative(".", RAIN)} is missing; run npm run build first`);
  const out = createResultsFolder(values.out);
  const stop = new AbortController();
  for (const name of /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"])) {
    process.on(name, () => {
      if (!stop.signal.aborted) console.error(`\ndemo: ${name}, stopping`);
      process.exitCode ??= 128 + constants.signals[name];
      stop.abort(new DemoError(`stopped by ${name}`));
    });
  }
  await demo(out, stop.signal);
  const { count, best } = check(out);
  const seconds = ((performance.now() - began) / 1000).toFixed(1);
  console.log(
    `\ndemo: ${count} trainings, best accuracy ${best}, ${seconds} s in total, stopped; results in ${out}`,
  );
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  console.error(`demo: ${error instanceof Error ? error.message : String(error)}`);
  const wrongUse =
    error instanceof TypeError && "code" in error && String(error.code).startsWith("ERR_PARSE_ARGS");
  process.exitCode ??= wrongUse ? 2 : 1;
}
