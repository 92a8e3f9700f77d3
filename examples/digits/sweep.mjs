#!/usr/bin/env node
/**
 * Which network reads digits best? Twenty trainings (4 sizes x 5 dropouts) as one
 * graph of Rain: download the data once, train everywhere, draw the accuracies.
 *
 *     rain start --simple
 *     node examples/digits/sweep.mjs
 *
 * Exit status: 0 done, 1 failed, 2 wrong arguments.
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Client, blob, input } from "@rain/client";
import { best, formatAccuracy, toCsv, toHeatMap, toSvg, toTable } from "./render.mjs";

/** @typedef {import("./render.mjs").Result} Result */
/** @typedef {import("@rain/client").Session} Session */

const SIZES = [8, 16, 32, 64];
const DROPOUTS = [0, 0.1, 0.2, 0.4, 0.6];
const COUNT = SIZES.length * DROPOUTS.length;
const HERE = import.meta.dirname;

const USAGE = `usage: sweep.mjs [--url URL] [--python] [--epochs N] [--out DIR] [--address HOST[:PORT]]
  --url URL        where a task finds digits.csv.gz (default: this script serves its own
                   copy on 127.0.0.1, which governors on other machines cannot reach)
  --python         train with python3 and numpy instead of node
  --epochs N       passes over the data for each training (default: the trainer's own)
  --out DIR        folder for results.csv and heatmap.svg (default ./digits-results)
  --address HOST   the server (default: from the access file)`;

// ----------------------------------------------------------------- the sweep

/**
 * Declares the graph: a download, and the trainings over what it brings.
 *
 * @param {Session} session
 * @param {Options} options
 * @param {string} url
 */
function declare(session, options, url) {
  const data = session.execute(["curl", "-sSfL", "--noproxy", "127.0.0.1", "-o", "digits.csv.gz", url], {
    outputPaths: ["digits.csv.gz"],
    name: "download",
  });
  // The trainer travels as data: a governor needs nothing but node or python3.
  const file = options.python ? "train.py" : "train.mjs";
  const program = blob(readFileSync(join(HERE, file)), { label: file });
  const trials = SIZES.flatMap((size) => DROPOUTS.map((dropout) => ({ size, dropout })));
  return trials.map((trial) => {
    const trainer = input("trainer", { path: file, object: program });
    const flags = ["--size", String(trial.size), "--dropout", String(trial.dropout), ...options.epochs];
    const task = session.execute([options.python ? "python3" : "node", trainer, "--data", data, ...flags], {
      stdout: true,
      name: `digits size=${trial.size} dropout=${trial.dropout}`,
    });
    task.output.keep();
    return { task, trial };
  });
}

/**
 * Takes the accuracies as they come, and shows them.
 *
 * @param {Session} session
 * @param {ReturnType<typeof declare>} runs
 */
async function collect(session, runs) {
  const trials = new Map(runs.map(({ task, trial }) => [task, trial]));
  /** @type {Result[]} */
  const results = [];
  const progress = createProgress(process.stdout);
  try {
    progress.show(0);
    for await (const task of session.finished()) {
      const trial = trials.get(task);
      if (!trial) continue; // the download
      const accuracy = Number((await task.output.fetch()).text());
      await task.update();
      const result = { ...trial, accuracy, durationS: task.info.durationS, governor: task.info.governor };
      results.push(result);
      progress.add(result, results.length);
      if (results.length === runs.length) break;
    }
  } finally {
    progress.end();
  }
  return results;
}

/**
 * @param {Options} options
 * @param {string} url
 * @param {AbortSignal} signal
 */
async function sweep(options, url, signal) {
  const client = await Client.connect(...options.address);
  try {
    const session = await client.newSession("digits sweep");
    try {
      signal.throwIfAborted();
      signal.addEventListener("abort", () => void session.close().catch(() => {}));
      const runs = declare(session, options, url);
      await session.submit();
      return await collect(session, runs);
    } finally {
      await session.close();
    }
  } finally {
    await client.close();
  }
}

// ------------------------------------------------------------------ progress

/**
 * One line for each finished training; in a terminal a bar below them, too.
 *
 * @param {NodeJS.WriteStream} stream
 */
function createProgress(stream) {
  const clear = stream.isTTY ? "\r\u001B[2K" : "";
  /** @param {number} done */
  const show = (done) => {
    if (stream.isTTY)
      stream.write(`${clear}[${"#".repeat(done).padEnd(COUNT, ".")}] ${done}/${COUNT} trained`);
  };
  return {
    show,
    /**
     * @param {Result} result
     * @param {number} done
     */
    add({ size, dropout, accuracy, durationS, governor }, done) {
      const count = `${done}/${COUNT}`.padStart(5);
      const where = `${durationS === undefined ? "" : `  ${durationS.toFixed(2)} s`}${governor === undefined ? "" : `  ${governor}`}`;
      stream.write(
        `${clear}${count}  size=${String(size).padEnd(3)} dropout=${String(dropout).padEnd(4)} accuracy=${formatAccuracy(accuracy)}${where}\n`,
      );
      show(done);
    },
    end() {
      stream.write(clear);
    },
  };
}

// ---------------------------------------------------------------------- data

/**
 * Serves the example's own copy of the data, so that the download works offline.
 */
async function serveData() {
  const bytes = readFileSync(join(HERE, "digits.csv.gz"));
  const server = createServer((request, response) => {
    const found = request.url === "/digits.csv.gz";
    response.writeHead(found ? 200 : 404, { "content-type": found ? "application/gzip" : "text/plain" });
    response.end(found ? bytes : "not found\n");
  });
  await new Promise((resolve, reject) => {
    server.once("error", reject).listen(0, "127.0.0.1", () => resolve(undefined));
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the data server has no port");
  return {
    url: `http://127.0.0.1:${address.port}/digits.csv.gz`,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

// ------------------------------------------------------------------- results

/**
 * @param {readonly Result[]} results
 * @param {string} out
 */
function present(results, out) {
  const colour = process.stdout.isTTY && !process.env["NO_COLOR"];
  const top = best(results);
  console.log(`\n${toTable(results)}\n${toHeatMap(results, { colour })}`);
  console.log(
    top
      ? `best: size=${top.size} dropout=${top.dropout} accuracy=${formatAccuracy(top.accuracy)}`
      : "best: none",
  );
  const csv = join(out, "results.csv");
  const svg = join(out, "heatmap.svg");
  writeFileSync(csv, toCsv(results));
  writeFileSync(svg, toSvg(results, { title: "Handwritten digits: test accuracy" }));
  console.log(`written: ${csv}\nwritten: ${svg}`);
}

// ----------------------------------------------------------------- arguments

/**
 * @typedef {object} Options
 * @property {string | undefined} url
 * @property {boolean} python
 * @property {string[]} epochs   the trainer's flags
 * @property {string} out
 * @property {[host?: string, port?: number]} address
 */

/**
 * @param {string[]} args
 * @returns {Options}
 */
function parseArguments(args) {
  const { values } = parseArgs({
    args,
    options: {
      url: { type: "string" },
      python: { type: "boolean", default: false },
      epochs: { type: "string" },
      out: { type: "string", default: "./digits-results" },
      address: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) {
    console.log(USAGE);
    process.exit(0);
  }
  const { url, epochs, address } = values;
  if (url !== undefined && !/^https?:$/.test(URL.canParse(url) ? new URL(url).protocol : "")) {
    throw new TypeError(`--url "${url}": must be an http or https address`);
  }
  if (
    epochs !== undefined &&
    !(/^\d{1,5}$/.test(epochs) && Number(epochs) >= 1 && Number(epochs) <= 10_000)
  ) {
    throw new TypeError(`--epochs "${epochs}": must be a whole number from 1 to 10000`);
  }
  return {
    url,
    python: values.python,
    epochs: epochs === undefined ? [] : ["--epochs", epochs],
    out: values.out,
    address: address === undefined ? [] : parseAddress(address),
  };
}

/**
 * @param {string} address
 * @returns {[host: string, port?: number]}
 */
function parseAddress(address) {
  const [, host, port] = /^(\[[^\]]+\]|[^:]+)(?::(\d{1,5}))?$/.exec(address) ?? [];
  if (host === undefined || Number(port ?? 1) < 1 || Number(port ?? 1) > 65_535) {
    throw new TypeError(`--address "${address}": must be HOST or HOST:PORT`);
  }
  return port === undefined ? [host] : [host, Number(port)];
}

// ---------------------------------------------------------------------- main

/** @param {Options} options */
async function main(options) {
  mkdirSync(options.out, { recursive: true }); // a folder that cannot be written is known before the work
  const stop = new AbortController();
  for (const name of /** @type {const} */ (["SIGINT", "SIGTERM"])) {
    process.once(name, () => stop.abort(new Error(`stopped by ${name}`)));
  }
  const data = options.url === undefined ? await serveData() : { url: options.url, close: () => {} };
  try {
    const results = await sweep(options, data.url, stop.signal);
    stop.signal.throwIfAborted();
    if (results.length !== COUNT) throw new Error(`only ${results.length} of ${COUNT} trainings finished`);
    present(results, options.out);
  } catch (error) {
    throw stop.signal.aborted ? stop.signal.reason : error;
  } finally {
    data.close();
  }
}

/**
 * @param {unknown} error
 * @param {number} exitCode
 */
function fail(error, exitCode) {
  console.error(`sweep.mjs: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(exitCode);
}

/** @type {Options | undefined} */
let options;
try {
  options = parseArguments(process.argv.slice(2));
} catch (error) {
  console.error(USAGE);
  fail(error, 2);
}
if (options) await main(options).catch((error) => fail(error, 1));
