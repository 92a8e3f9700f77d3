import { constants } from "node:fs";
import { access, open, stat } from "node:fs/promises";
import { isAbsolute, join, resolve } from "node:path";
import { errorCode } from "../monitor/errno.ts";
import { TaskProblem } from "./problem.ts";

/** How long a program that was found is believed to be still there and, on the PATH, still the first. */
const TRUST_MS = 1_000;

type Tried = "found" | "absent" | { readonly refused: string };

/** Finds programs as a shell would, and says why one could not be started. */
export class Programs {
  readonly #found = new Map<string, { readonly path: string; readonly at: number }>();

  /** Absolute path of the program; a name with a slash is relative to `cwd`. */
  async resolve(program: string, searchPath: string | undefined, cwd: string): Promise<string> {
    if (program === "") throw new TaskProblem("program-not-found", "the program's name is empty");
    if (program.includes("/")) return await this.#named(program, cwd);
    const key = `${searchPath}\0${program}`;
    const known = this.#known(key);
    if (known !== undefined) return known;
    const path = await this.#search(program, searchPath, cwd);
    this.#keep(key, path, cwd);
    return path;
  }

  #known(key: string): string | undefined {
    const known = this.#found.get(key);
    return known !== undefined && performance.now() - known.at < TRUST_MS ? known.path : undefined;
  }

  /** What is in the folder of a task is nothing to another one. */
  #keep(key: string, path: string, cwd: string): void {
    if (path.startsWith(`${cwd}/`)) return;
    if (this.#found.size > 1_000) this.#found.clear();
    this.#found.set(key, { path, at: performance.now() });
  }

  async #named(program: string, cwd: string): Promise<string> {
    const path = resolve(cwd, program);
    if (this.#known(path) !== undefined) return path;
    const tried = await tryProgram(path);
    if (tried === "found") {
      this.#keep(path, path, cwd);
      return path;
    }
    if (tried === "absent")
      throw new TaskProblem("program-not-found", `program ${JSON.stringify(program)} does not exist`);
    throw new TaskProblem("launch", `program ${JSON.stringify(program)} cannot be started: ${tried.refused}`);
  }

  async #search(program: string, searchPath: string | undefined, cwd: string): Promise<string> {
    const where = searchPath ?? "/usr/local/bin:/usr/bin:/bin";
    let refused: string | undefined;
    for (const folder of where.split(":")) {
      const path = join(isAbsolute(folder) ? folder : resolve(cwd, folder), program);
      const tried = await tryProgram(path);
      if (tried === "found") return path;
      if (tried !== "absent") refused ??= `${path}: ${tried.refused}`;
    }
    if (refused !== undefined)
      throw new TaskProblem("launch", `program ${JSON.stringify(program)} cannot be started: ${refused}`);
    throw new TaskProblem(
      "program-not-found",
      `program ${JSON.stringify(program)} was not found; searched PATH=${where}`,
    );
  }
}

async function tryProgram(path: string): Promise<Tried> {
  try {
    if (!(await stat(path)).isFile()) return { refused: "EACCES: not a regular file" };
    await access(path, constants.X_OK);
    return "found";
  } catch (error) {
    const code = errorCode(error);
    if (code === "ENOENT" || code === "ENOTDIR") return "absent";
    if (code === "EACCES") return { refused: "EACCES: permission denied; is it executable (chmod +x)?" };
    return { refused: error instanceof Error ? error.message : String(error) };
  }
}

/**
 * Why a program that ended with a shell's "cannot run it" status (126, 127, or 2 for what dash takes for a script) was
 * never started; undefined when it was. `stderrTail` is the end of its stderr, `script` the path of its run script,
 * which the launcher names in its own messages.
 */
export async function diagnoseLaunch(
  program: string,
  status: number,
  stderrTail: string,
  script: string,
): Promise<string | undefined> {
  if (status !== 126 && status !== 127 && status !== 2) return undefined;
  const head = await readHead(program);
  if (head === undefined) return `${program}: it is gone`;
  const line = /^#![ \t]*([^\s]+)/.exec(head.toString("latin1"));
  const interpreter = line?.[1];
  if (interpreter !== undefined && (await tryProgram(resolve(interpreter))) !== "found")
    return `${program}: bad interpreter ${interpreter}: no such program`;
  if (interpreter === undefined && (await isForeignBinary(head)))
    return `${program}: exec format error: not a program for this machine`;
  const said = stderrTail
    .split("\n")
    .findLast((text) => text.includes(script) && text.includes(`${program}: `));
  return said?.slice(said.lastIndexOf(`${program}: `));
}

const HEAD_BYTES = 256;
async function readHead(path: string): Promise<Buffer | undefined> {
  try {
    const file = await open(path, "r");
    try {
      const { bytesRead, buffer } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
      return buffer.subarray(0, bytesRead);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    if (errorCode(error) === "EACCES") return Buffer.alloc(0); // executable but not readable: nothing to learn here
    throw error;
  }
}

const ELF = Buffer.from("\x7fELF", "latin1");
let ownHead: Promise<Buffer | undefined> | undefined;
/** A binary that is not of the machine (class, byte order, architecture) of this very process. */
async function isForeignBinary(head: Buffer): Promise<boolean> {
  if (!head.subarray(0, 4).equals(ELF)) return head.includes(0);
  ownHead ??= readHead(process.execPath);
  const own = (await ownHead) ?? Buffer.alloc(0);
  return (
    !head.subarray(4, 6).equals(own.subarray(4, 6)) || !head.subarray(18, 20).equals(own.subarray(18, 20))
  );
}
