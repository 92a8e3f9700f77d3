import { execFileSync } from "node:child_process";
import { createServer, type AddressInfo } from "node:net";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isAlive } from "../../packages/cli/src/processes.ts";
import { Home } from "./rain.ts";

interface Started {
  readonly url: string;
  readonly server: { readonly pid: number };
  readonly governors: readonly {
    readonly id: number;
    readonly name: string;
    readonly cpus: number;
    readonly pid: number;
  }[];
}
interface Status {
  readonly server: { readonly url: string; readonly pid: number | null; readonly version: string };
  readonly governors: readonly {
    readonly name: string;
    readonly state: string;
    readonly capacity: { readonly cpus: number };
  }[];
  readonly sessions: readonly unknown[];
}
interface Stop {
  readonly stopped: readonly {
    readonly role: string;
    readonly name: string;
    readonly pid: number;
    readonly how: string;
  }[];
}

const limit = { timeout: 180_000 };
let home: Home;
beforeEach(async () => {
  home = await Home.make();
});
afterEach(() => home.remove(["default", "second"]), 60_000);

test("start --simple, status, start again, stop, stop again", limit, async () => {
  const started = await home.json<Started>("start", "--simple", "--listen", "127.0.0.1:0");
  expect(started.governors).toHaveLength(1);
  expect(started.governors[0]?.cpus).toBeGreaterThan(0);
  expect(statSync(home.path("default", "access.json")).mode & 0o777).toBe(0o600);
  const daemons = home.daemons();
  expect(daemons.map((one) => one.role)).toEqual(["server", "governor"]);
  expect(daemons.map((one) => one.pid)).toEqual([started.server.pid, started.governors[0]?.pid]);
  // Ready files and drafts are gone; only the pid files are left.
  expect(readdirSync(home.path("default", "run")).toSorted()).toEqual([
    "governor-local-1.json",
    "server.json",
  ]);

  const status = await home.json<Status>("status");
  expect(status.server).toMatchObject({ url: started.url, pid: started.server.pid });
  expect(status.governors.map(({ name, state }) => [name, state])).toEqual([["local-1", "connected"]]);
  expect(status.sessions).toEqual([]);
  const plain = await home.rain("status");
  expect(plain).toMatchObject({ code: 0, err: "" });
  expect(plain.out).toContain(started.url);
  expect(plain.out).toContain("No sessions.");

  const again = await home.rain("start", "--simple");
  expect(again.code).toBe(1);
  expect(again.err).toContain(started.url);
  expect(again.err).toContain(`pid ${started.server.pid}`);
  expect(home.daemons()).toHaveLength(2);

  const { stopped } = await home.json<Stop>("stop");
  expect(stopped.map(({ name, how }) => [name, how])).toEqual([
    ["server", "asked"],
    ["local-1", "asked"],
  ]);
  expect(daemons.some(isAlive)).toBe(false);
  expect(home.processes()).toEqual([]);
  expect(readdirSync(home.path("default", "run"))).toEqual([]);
  expect(await home.rain("stop")).toMatchObject({ code: 0, out: "nothing of instance default is running\n" });
  const without = await home.rain("status");
  expect(without.code).toBe(69);
  expect(without.err).toContain("rain start");
});

test("daemons keep at rest what V8 has learned, where this Node has the flag for it", limit, async () => {
  await home.json<Started>("start", "--simple", "--listen", "127.0.0.1:0");
  const known = execFileSync(process.execPath, ["--v8-options"], { encoding: "utf8" });
  const flags = known.includes("--memory-reducer ") ? ["--no-memory-reducer"] : [];
  for (const { pid } of home.daemons()) {
    const [, ...args] = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
    expect(
      args.slice(
        0,
        args.findIndex((arg) => arg.endsWith("rain.mjs")),
      ),
    ).toEqual(flags);
  }
});

test("--local-governors, and a second instance beside the first", limit, async () => {
  const first = await home.json<Started>("start", "--local-governors=[2,1]", "--listen=0");
  expect(first.governors.map(({ name, cpus }) => [name, cpus])).toEqual([
    ["local-1", 2],
    ["local-2", 1],
  ]);
  const second = await home.json<Started>(
    "start",
    "--local-governors",
    "1",
    "--listen=0",
    "--instance=second",
  );
  expect(second.url).not.toBe(first.url);
  expect((await home.json<Stop>("stop", "--instance", "second")).stopped).toHaveLength(2);
  expect((await home.json<Status>("status")).governors).toHaveLength(2);
  expect((await home.json<Stop>("stop")).stopped).toHaveLength(3);
});

test("a port in use: exit code 69, the port and the remedy, nothing left running", limit, async () => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
  const { port } = other.address() as AddressInfo;
  try {
    const server = await home.rain("server", "--listen", `127.0.0.1:${port}`);
    expect(server.code).toBe(69);
    const start = await home.rain("start", "--simple", "--listen", `127.0.0.1:${port}`);
    expect(start.code).toBe(69);
    for (const { err } of [server, start]) {
      expect(err).toContain(String(port));
      expect(err).toContain("--listen");
    }
    expect(home.daemons()).toEqual([]);
    expect(readdirSync(home.path("default", "run"))).toEqual([]);
  } finally {
    other.close();
  }
});

test("a governor that cannot start undoes the start and shows its log", limit, async () => {
  // Its work folder cannot be made: there is a file in the way.
  const { code, err } = await home.rain("start", "--simple", "--listen=0", "--workdir", "/dev/null/x");
  expect(code).not.toBe(0);
  expect(err).toContain("local-1");
  expect(err).toContain("ENOTDIR");
  expect(home.daemons()).toEqual([]);
});

test("a start that takes too long, or is interrupted, leaves nothing behind", limit, async () => {
  // Governors that never get anywhere.
  const hang = home.path("hang.mjs");
  writeFileSync(
    hang,
    "if (process.argv[2] === 'governor') { setInterval(() => {}, 1e9); await new Promise(() => {}); }",
  );
  home.extra = { NODE_OPTIONS: `--import=${hang}` };
  const late = await home.rain("start", "--simple", "--listen=0", "--timeout=3");
  expect(late.code).toBe(1);
  expect(late.err).toMatch(/^rain: (local-1|server) is not ready after/);
  expect(home.processes()).toEqual([]);

  const start = home.spawn("start", "--simple", "--listen=0");
  await expect.poll(() => home.daemons()[0]?.url, { timeout: 60_000 }).toBeDefined();
  start.child.kill("SIGINT");
  expect(await start.ended).toBe(130);
  expect(start.err()).toContain("given up");
  expect(home.processes()).toEqual([]);
  expect(readdirSync(home.path("default", "run"))).toEqual([]);
});

test("stop with a server that was killed ends its governors", limit, async () => {
  const started = await home.json<Started>("start", "--local-governors=1,1", "--listen=0");
  process.kill(started.server.pid, "SIGKILL");
  await expect.poll(() => home.daemons().length, { timeout: 10_000 }).toBe(2);
  const blocked = await home.rain("start", "--simple", "--listen=0");
  expect(blocked.code).toBe(1);
  expect(blocked.err).toContain("without a server");
  const { stopped } = await home.json<Stop>("stop");
  expect(stopped.map(({ role, how }) => [role, how])).toEqual([
    ["governor", "terminated"],
    ["governor", "terminated"],
  ]);
  expect(home.daemons()).toEqual([]);
});

test("stop with a server that does not answer ends it by signals", limit, async () => {
  const started = await home.json<Started>("start", "--local-governors=1", "--listen=0");
  process.kill(started.server.pid, "SIGSTOP");
  const { stopped } = await home.json<Stop>("stop", "--grace=2");
  expect(stopped.map(({ name, how }) => [name, how])).toEqual([
    ["server", "killed"],
    ["local-1", "terminated"],
  ]);
  expect(home.daemons()).toEqual([]);
});

test("a cluster that was stopped starts again on its journal", limit, async () => {
  await home.json("start", "--local-governors=1", "--listen=0");
  await home.json("stop");
  const again = await home.json<Started>("start", "--local-governors=1", "--listen=0");
  expect(again.governors[0]?.id).toBe(1); // the governor kept its identity and so its number
  expect((await home.json<Stop>("stop")).stopped).toHaveLength(2);
});
