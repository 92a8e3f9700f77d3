import { execFile, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, realpathSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

// What a user would pick instead of Rain: Python packages in a virtual environment of the benchmarks' own.

const run = promisify(execFile);
const scripts = fileURLToPath(new URL("../peers", import.meta.url));

export const installCommand = "npm run bench -- --install-peers";

/** How long a peer may take to start or to end by itself, milliseconds: also on a machine that has much else to do. */
const START_MS = 240_000;
const END_MS = 30_000;
/** Ray's sockets have their whole path in their addresses, 107 bytes at most, and 65 of them are Ray's own. */
const FOLDER_MAX = 40;

/** @typedef {"dask" | "ray" | "hyperqueue"} PeerName */
/** @type {Readonly<Record<PeerName, string>>} */
export const titles = { dask: "Dask", ray: "Ray", hyperqueue: "HyperQueue" };
/** The package whose folder says that the peer is installed. */
const packages = { dask: "distributed", ray: "ray", hyperqueue: "hyperqueue" };

/** Where the peers are installed: outside of the repository, so that a clean checkout keeps them. */
function peersFolder() {
  const cache = process.env.XDG_CACHE_HOME;
  const home = homedir();
  const base = cache !== undefined && cache !== "" ? cache : home === "/" ? tmpdir() : join(home, ".cache");
  return join(base, "rain-bench-peers");
}
const python = () => join(peersFolder(), "bin", "python");

/** @param {PeerName} name */
async function installed(name) {
  if (!existsSync(python())) return false;
  const code = `import importlib.util, sys; sys.exit(3 if importlib.util.find_spec("${packages[name]}") is None else 0)`;
  try {
    await run(python(), ["-c", code]);
    return true;
  } catch (error) {
    if (/** @type {{ code?: unknown }} */ (error).code === 3) return false;
    throw error;
  }
}

/** Makes the virtual environment, or brings it up to date. Only ever called by `--install-peers`. */
export async function installPeers() {
  const folder = peersFolder();
  mkdirSync(folder, { recursive: true });
  process.stderr.write(`bench: installing the peers to ${folder} (several hundred MB)\n`);
  await inherit("python3", ["-m", "venv", folder]);
  const wheels = ["install", "--only-binary", ":all:", "-r", join(scripts, "requirements.txt")];
  await inherit(python(), ["-m", "pip", ...wheels]);
}

/**
 * @param {string} file
 * @param {readonly string[]} args
 */
async function inherit(file, args) {
  const child = spawn(file, args, { stdio: ["ignore", 2, 2] });
  const code = await new Promise((resolve, reject) => child.once("exit", resolve).once("error", reject));
  if (code !== 0) throw new Error(`${file} ${args.join(" ")} ended with ${code}`);
}

/** A peer of a run: started once, at rest while something else is measured. */
export class Peer {
  /** @type {((line: string) => void) | undefined} */
  #next;
  /** @type {string[]} */
  #lines = [];

  /**
   * Starts a peer; undefined when it is not installed.
   * @param {PeerName} name
   * @param {string} dir an empty folder
   * @returns {Promise<Peer | undefined>}
   */
  static async start(name, dir) {
    if (!(await installed(name))) return undefined;
    const log = join(dir, `${name}.txt`);
    const inside = join(realpathSync(dir), name);
    const fits = inside.length <= FOLDER_MAX;
    if (fits) mkdirSync(inside, { mode: 0o700 });
    const peer = new Peer(name, fits ? inside : mkdtempSync("/tmp/rain-bench-"), log);
    const { ready } = await peer.#answer(START_MS);
    peer.title = String(ready);
    return peer;
  }

  /**
   * @param {PeerName} name
   * @param {string} folder removed when it has ended
   * @param {string} logFile
   */
  constructor(name, folder, logFile) {
    this.title = titles[name];
    this.log = logFile;
    const log = openSync(logFile, "a", 0o600);
    // A session of its own: the keeper outlives a benchmark that is killed, and ends all that belongs to the peer.
    this.child = spawn(python(), [join(scripts, "peer.py"), name, folder], {
      detached: true,
      stdio: ["pipe", log, log, "pipe", "pipe"],
      env: { ...process.env, PYTHONPATH: scripts, PYTHONDONTWRITEBYTECODE: "1" },
    });
    closeSync(log);
    this.gone = new Promise((resolve) => this.child.once("exit", resolve).once("error", resolve));
    const answers = /** @type {import("node:stream").Readable} */ (this.child.stdio[3]);
    createInterface({ input: answers }).on("line", (line) => {
      const next = this.#next;
      this.#next = undefined;
      if (next) next(line);
      else this.#lines.push(line);
    });
    // A write to a peer that has ended fails; its end is what is reported.
    this.child.stdin?.on("error", () => {});
  }

  get pid() {
    return this.child.pid ?? 0;
  }

  /**
   * @param {{ readonly do: string, readonly [field: string]: unknown }} request
   * @returns {Promise<any>}
   */
  ask(request) {
    this.child.stdin?.write(`${JSON.stringify(request)}\n`);
    return this.#answer();
  }

  /**
   * @param {number} [limitMs]
   * @returns {Promise<any>}
   */
  async #answer(limitMs) {
    const line = this.#lines.shift() ?? new Promise((resolve) => (this.#next = resolve));
    let late;
    const problem = new Promise((_, reject) => {
      const report = (/** @type {string} */ what) => {
        const last = readFileSync(this.log, "utf8").slice(-2000);
        reject(new Error(`${this.title} ${what}:\n${last}`));
      };
      void this.gone.then(() => report("ended and nobody stopped it"));
      if (limitMs !== undefined)
        late = setTimeout(() => report(`was not ready after ${limitMs / 1000} s`), limitMs);
    });
    try {
      return JSON.parse(await Promise.race([line, problem]));
    } finally {
      clearTimeout(late);
    }
  }

  /** Ends it and waits until no process of it is left. */
  async stop() {
    this.child.stdin?.end();
    const lifeline = /** @type {import("node:stream").Writable} */ (this.child.stdio[4]);
    const late = setTimeout(() => lifeline.destroy(), END_MS);
    await this.gone;
    clearTimeout(late);
  }
}
