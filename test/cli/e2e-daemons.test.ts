import { mkdirSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isAlive } from "../../packages/cli/src/processes.ts";
import { Home } from "./rain.ts";

const limit = { timeout: 180_000 };
const wait = { timeout: 60_000, interval: 50 };
let home: Home;
beforeEach(async () => {
  home = await Home.make();
});
afterEach(() => home.remove(), 60_000);

test(
  "server and governor in the foreground: ready files, log files, SIGTERM ends both with 0",
  limit,
  async () => {
    const server = home.spawn("server", "--listen=0", "--ready-file=server.ready", "--logdir=logs");
    await expect.poll(() => home.read("server.ready"), wait).toBeDefined();
    const ready = JSON.parse(home.read("server.ready") ?? "") as { url: string; pid: number };
    expect(ready).toEqual({
      url: expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+$/),
      pid: server.child.pid,
    });

    const address = new URL(ready.url).host;
    const governor = home.spawn(
      "governor",
      address,
      "--cpus",
      "2",
      "--gpus=0",
      "--memory=1G",
      "--resource=licence=3",
      "--label=rack=r1",
      "--name=g1",
      "--workdir=work",
      "--ready-file=governor.ready",
    );
    await expect.poll(() => home.read("governor.ready"), wait).toBeDefined();
    const status = await home.json<{ governors: { name: string; capacity: unknown; labels: unknown }[] }>(
      "status",
    );
    expect(status.governors).toMatchObject([
      {
        name: "g1",
        capacity: { cpus: 2, gpus: 0, memory: 2 ** 30, named: { licence: 3 } },
        labels: { rack: "r1" },
      },
    ]);

    const twice = await home.rain("governor", address, "--name=g1");
    expect(twice.code).toBe(1);
    expect(twice.err).toContain("--name");

    governor.child.kill("SIGTERM");
    expect(await governor.ended).toBe(0);
    expect(governor.err()).toContain("stopping (SIGTERM)");
    server.child.kill("SIGTERM");
    expect(await server.ended).toBe(0);
    expect(server.err()).toBe("");
    expect(home.read("logs", "server.log")).toContain("stopping (SIGTERM)");
    expect(home.read("server.ready")).toBeUndefined();
    expect(home.daemons()).toEqual([]);
  },
);

test("rain stop ends daemons in the foreground too", limit, async () => {
  const server = home.spawn("server", "--listen=0", "--ready-file=server.ready");
  await expect.poll(() => home.read("server.ready"), wait).toBeDefined();
  const governor = home.spawn("governor", "--cpus=1", "--name=g1", "--ready-file=governor.ready");
  await expect.poll(() => home.read("governor.ready"), wait).toBeDefined();
  const daemons = home.daemons();
  expect((await home.rain("stop")).code).toBe(0);
  expect(await server.ended).toBe(0);
  expect(await governor.ended).toBe(0);
  expect(daemons.some(isAlive)).toBe(false);
});

test("a governor whose server is gone can be stopped before it registered", limit, async () => {
  const server = home.spawn("server", "--listen=0", "--ready-file=server.ready");
  await expect.poll(() => home.read("server.ready"), wait).toBeDefined();
  server.child.kill("SIGKILL");
  await server.ended;
  const governor = home.spawn("governor", "--cpus=1", "--name=g1", "--ready-file=governor.ready");
  await expect.poll(() => home.daemons().length, wait).toBe(1);
  governor.child.kill("SIGTERM");
  expect(await governor.ended).toBe(0);
  expect(home.read("governor.ready")).toBeUndefined();
});

test("a second server on the same instance is refused and the first goes on", limit, async () => {
  const server = home.spawn("server", "--listen=0", "--ready-file=server.ready");
  await expect.poll(() => home.read("server.ready"), wait).toBeDefined();
  const second = await home.rain("server", "--listen=0");
  expect(second.code).not.toBe(0);
  expect(second.err).toContain(String(server.child.pid));
  expect((await home.rain("status")).code).toBe(0);
  server.child.kill("SIGINT");
  expect(await server.ended).toBe(0);
});

test("an access file that others may read is refused with the remedy", limit, async () => {
  mkdirSync(home.path("default"), { mode: 0o700 });
  writeFileSync(home.path("default", "access.json"), "{}", { mode: 0o644 });
  const { code, err } = await home.rain("status");
  expect(code).toBe(65);
  expect(err).toContain("chmod 600");
});
