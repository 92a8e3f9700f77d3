import { fork } from "node:child_process";
import {
  closeSync,
  fdatasyncSync,
  mkdirSync,
  openSync,
  rmdirSync,
  rmSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

// What the machine itself allows: no promise is quicker than the disk, no answer quicker than the loopback.

const echoServer = fileURLToPath(new URL("./tcp-echo.mjs", import.meta.url));

/**
 * Milliseconds of each of `count` times: append 200 bytes to a file, fdatasync.
 * @param {string} dir
 * @param {number} count
 */
export function syncTimes(dir, count) {
  const path = join(dir, "sync-probe");
  const file = openSync(path, "a", 0o600);
  const bytes = Buffer.alloc(200, 1);
  try {
    return Array.from({ length: count }, () => {
      const begin = performance.now();
      writeSync(file, bytes);
      fdatasyncSync(file);
      return performance.now() - begin;
    });
  } finally {
    closeSync(file);
    rmSync(path);
  }
}

/**
 * How many tasks a second the file system allows: for each the folders and files that any program gets, made and
 * removed, one after another. On some disks this costs more than the program.
 * @param {string} dir
 * @param {number} count
 */
export function folderRate(dir, count) {
  const begin = performance.now();
  for (let i = 0; i < count; i += 1) {
    const root = join(dir, `task-${i}`);
    const folders = [root, join(root, "work"), join(root, "tmp")];
    const files = [join(root, "stdout"), join(root, "stderr")];
    for (const folder of folders) mkdirSync(folder, { mode: 0o700 });
    for (const file of files) closeSync(openSync(file, "wx", 0o600));
    for (const file of files) unlinkSync(file);
    for (const folder of folders.toReversed()) rmdirSync(folder);
  }
  return count / ((performance.now() - begin) / 1000);
}

/**
 * Milliseconds of each of `count` round trips of 200 bytes to another Node process over loopback TCP.
 * @param {number} count
 */
export async function roundTrips(count) {
  const server = fork(echoServer, { stdio: "inherit" });
  try {
    const port = await new Promise((resolve, reject) => {
      server.once("message", resolve);
      server.once("exit", () => reject(new Error("the echo server ended")));
    });
    const socket = connect({ host: "127.0.0.1", port: Number(port), noDelay: true });
    await new Promise((resolve, reject) =>
      socket.once("connect", () => resolve(undefined)).once("error", reject),
    );
    const bytes = Buffer.alloc(200, 1);
    const times = [];
    for (let i = 0; i < count; i += 1) {
      const begin = performance.now();
      await new Promise((resolve) => {
        let left = bytes.length;
        const onData = (/** @type {Buffer} */ data) => {
          left -= data.length;
          if (left > 0) return;
          socket.off("data", onData);
          resolve(undefined);
        };
        socket.on("data", onData);
        socket.write(bytes);
      });
      times.push(performance.now() - begin);
    }
    socket.destroy();
    return times;
  } finally {
    server.kill();
  }
}
