import { execFile, execFileSync, fork } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const fileServer = fileURLToPath(new URL("./file-server.mjs", import.meta.url));

/**
 * Random bytes: nothing on their way can shorten them.
 * @param {string} path
 * @param {number} bytes
 */
export const fillFile = (path, bytes) =>
  void execFileSync("sh", ["-c", `head -c ${bytes} /dev/urandom > "$0"`, path]);

/**
 * What was written before gets to the disk: nobody's bytes are to wait behind those of another. Then as much memory as the
 * next ones will take is used once: of a virtual machine, the host may have taken it back, and brings it again page by
 * page, at a tenth of the speed.
 * @param {number} mib
 */
export function settle(mib) {
  execFileSync("sync");
  const use =
    "const all = []; for (let i = process.argv[1]; i > 0; i -= 64) all.push(Buffer.alloc(64 * 2 ** 20, 1));";
  execFileSync(process.execPath, ["-e", use, String(mib)]);
}

/**
 * A folder with small files, named by their number from 0.
 * @param {string} dir
 * @param {number} count
 * @param {number} bytes of each
 */
export function fillFolder(dir, count, bytes) {
  mkdirSync(dir);
  for (let i = 0; i < count; i += 1) writeFileSync(join(dir, String(i)), String(i).padEnd(bytes, "."));
}

/**
 * What transfers are held against: a plain `node:http` server of files in a process of its own, read by `curl`.
 * @typedef {object} FileServer
 * @property {(name: string, to: string, options?: { keep?: boolean }) => Promise<void>} curl reads one file, which is removed again unless it is to be kept
 * @property {(range: string, to: string) => Promise<void>} curlMany reads many, by one curl over one connection
 * @property {() => void} stop
 */

/**
 * @param {string} dir the folder that it serves
 * @returns {Promise<FileServer>}
 */
export async function startFileServer(dir) {
  const server = fork(fileServer, [dir], { stdio: "inherit" });
  const port = await new Promise((resolve, reject) => {
    server.once("message", resolve);
    server.once("exit", () => reject(new Error("the file server ended")));
  });
  const url = `http://127.0.0.1:${Number(port)}`;
  return {
    curl: async (name, to, { keep = false } = {}) => {
      await run("curl", ["-sS", "--fail", "-o", to, `${url}/${name}`]);
      if (to !== "/dev/null" && !keep) rmSync(to);
    },
    curlMany: async (range, to) => {
      // A range in an address makes curl talk of each file.
      await run("curl", ["-sS", "--fail", "--no-progress-meter", "-o", to, `${url}/${range}`], {
        maxBuffer: 2 ** 26,
      });
    },
    stop: () => void server.kill(),
  };
}
