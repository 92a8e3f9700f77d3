import { connect, type Socket } from "node:net";
import { chmod, chown, mkdir, mkdtemp, readFile, rm, symlink } from "node:fs/promises";
import { existsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Client } from "@rain/client";
import { limits } from "@rain/protocol";
import { loadAccess } from "@rain/protocol/access";
import { execa } from "execa";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { until } from "../cluster.ts";
import { Peers } from "./kit.ts";
import { rawLink, untilEnd } from "./raw.ts";

vi.setConfig({ testTimeout: 180_000, hookTimeout: 60_000 });

let peers: Peers;
beforeEach(async () => {
  peers = await Peers.make();
});
afterEach(async () => {
  await peers.stop();
});

/** So many sockets that send something and then nothing; how long the server bore with each of them. */
async function crowd(port: number, count: number, bytes: Buffer): Promise<number[]> {
  const all = Array.from({ length: count }, () => untilEnd(connect(port, "127.0.0.1"), bytes));
  return (await Promise.all(all)).map(({ ms }) => ms);
}
/** Far above the limits of seconds, for a busy machine, and far below those that Node has by itself. */
const PATIENCE_MS = 30_000;

async function work(client: Client): Promise<void> {
  const session = await client.newSession();
  const task = session.execute(["echo", "done"], { stdout: true });
  task.keepOutputs();
  await session.submit();
  expect((await task.output.fetch()).text()).toBe("done\n");
  await session.close();
}

describe("case 40: crowds that say nothing", () => {
  test.each([
    ["500 sockets that never finish their headers", 500, "GET / HTTP/1.1\r\nHost: 127"],
    ["1,000 sockets without a word", 1_000, ""],
  ])("%s are closed, while others work", async (_, count, bytes) => {
    const server = await peers.server();
    await (await peers.governor("a")).registered();
    const client = await peers.client();
    const closing = crowd(server.port, count, Buffer.from(bytes));
    const state = { left: true };
    void closing.then(() => (state.left = false));
    do await work(client);
    while (state.left);
    const times = await closing;
    expect(times).toHaveLength(count);
    expect(Math.max(...times)).toBeLessThan(PATIENCE_MS);
    // Those for whom there was room had their time.
    expect(Math.max(...times)).toBeGreaterThan(limits.unauthenticatedMs * 0.9);
    expect(peers.lines.some((line) => line.includes("did not say who it is"))).toBe(true);
    expect(peers.lines.some((line) => line.includes("had not said who they are"))).toBe(true);
  });

  test("500 half-open TLS handshakes are closed, while others work", async () => {
    const server = await peers.server({ listen: { host: "0.0.0.0", port: 0 } });
    const client = await peers.client();
    const hello = Buffer.from("16030102000100", "hex");
    const closing = crowd(server.port, 500, hello);
    await client.serverInfo();
    await (await Client.connect({ accessFile: peers.accessFile })).close();
    expect(Math.max(...(await closing))).toBeLessThan(PATIENCE_MS);
  });

  test("300 links that are idle stay, and others work", async () => {
    await peers.server({ sessionLeaseMs: 60_000 });
    await (await peers.governor("a")).registered();
    const access = await peers.access();
    const idle: Socket[] = [];
    for (let at = 0; at < 300; at++) {
      const socket = await rawLink(access, at % 2 === 0 ? "client" : "viewer");
      socket.on("error", () => undefined).resume();
      idle.push(socket);
    }
    await work(await peers.client());
    await new Promise((wait) => setTimeout(wait, limits.unauthenticatedMs + 500));
    expect(idle.filter((socket) => socket.readyState !== "open")).toEqual([]);
    for (const socket of idle) socket.destroy();
  });
});

test("case 41: with 256 open files, connections are refused with a reason; journal and tasks go on", async () => {
  const home = await mkdtemp(join(tmpdir(), "rain-files-"));
  const ready = join(home, "ready");
  const rain = resolve(import.meta.dirname, "../../../packages/cli/bin/rain.mjs");
  const words = ["server", "--listen=127.0.0.1:0", `--ready-file=${ready}`];
  const env = { RAIN_HOME: home };
  const limited = 'ulimit -n 256; exec "$@"';
  const server = execa("sh", ["-c", limited, "sh", process.execPath, rain, ...words], {
    env,
    reject: false,
    all: true,
  });
  peers.atEnd(async () => {
    server.kill("SIGTERM");
    await server;
    await rm(home, { recursive: true, force: true });
  });
  await until(() => existsSync(ready));
  const accessFile = join(home, "default", "access.json");
  const access = await loadAccess(accessFile);
  const { port } = new URL(access.url);
  const governor = execa(process.execPath, [rain, "governor", "--name=g", "--cpus=1"], {
    env,
    reject: false,
  });
  peers.atEnd(async () => {
    governor.kill("SIGTERM");
    await governor;
  });
  const client = await peers.client(accessFile);
  await until(async () => (await client.serverInfo()).governors.length === 1);
  // First those who say nothing: they do not get all the room.
  const silent = Array.from({ length: 300 }, () => connect(Number(port), "127.0.0.1"));
  for (const socket of silent) socket.on("error", () => undefined);
  await work(client);
  for (const socket of silent) socket.destroy();
  // Then those who have a key, until there is no room.
  const links: Socket[] = [];
  const refused = async (): Promise<boolean> => {
    try {
      links.push(await rawLink(access));
      return false;
    } catch {
      return true;
    }
  };
  while (!(await refused())) expect(links.length).toBeLessThan(256);
  expect(links.length).toBeGreaterThan(100);
  await work(client);
  for (const socket of links) socket.destroy();
  await until(async () => !(await refused()));
  for (const socket of links) socket.destroy();
  await work(client);
  server.kill("SIGTERM");
  const { exitCode, all } = await server;
  expect(exitCode).toBe(0);
  expect(all).toMatch(
    /refused a connection: there are \d+, the most that the limit of open files allows \(ulimit -n\)/,
  );
  expect(all).not.toMatch(/EMFILE|error /);
});

describe("case 52: folders that others could tamper with", () => {
  const start = (instanceDir: string, more: object = {}): Promise<unknown> =>
    peers.server({ instanceDir, ...more });
  test("a server refuses them for its instance and its journal", async () => {
    const make = async (name: string): Promise<string> => {
      const path = join(peers.home, name);
      await mkdir(path, { mode: 0o700 });
      return path;
    };
    const good = await make("good");
    const open = await make("open");
    await chmod(open, 0o777);
    const linked = join(peers.home, "linked");
    await symlink(good, linked);
    for (const [folder, words] of [
      [open, /can be written by every user; run: chmod 700/],
      [linked, /is a symbolic link/],
    ] as const) {
      await expect(start(folder)).rejects.toThrow(words);
      await expect(start(good, { journalDir: folder })).rejects.toThrow(words);
    }
    if (process.getuid?.() === 0) {
      const foreign = await make("foreign");
      await chown(foreign, 65_534, 65_534);
      await expect(start(foreign)).rejects.toThrow(/belongs to user 65534/);
      await expect(start(good, { journalDir: foreign })).rejects.toThrow(/belongs to user 65534/);
    }
    await start(good);
    expect(await readFile(join(good, "access.json"), "utf8")).toContain("rainc_");
  });
  test("a governor refuses them for its work folder, where its store and the folders of tasks are", async () => {
    await peers.server();
    const open = join(peers.home, "open");
    await mkdir(open);
    await chmod(open, 0o777);
    await expect(peers.governor("a", { workdir: open })).rejects.toThrow(/can be written by every user/);
    const real = join(peers.home, "real");
    await mkdir(real, { mode: 0o700 });
    await symlink(real, join(peers.home, "link"));
    await expect(peers.governor("a", { workdir: join(peers.home, "link") })).rejects.toThrow(/symbolic link/);
    if (process.getuid?.() === 0) {
      await chown(real, 65_534, 65_534);
      await expect(peers.governor("a", { workdir: real })).rejects.toThrow(/belongs to user 65534/);
    }
  });
});
