import { readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { Client, ConnectionError } from "@rain/client";
import { createKey, loadAccess, type Access } from "@rain/protocol/access";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Home } from "./rain.ts";

vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 });

let home: Home;
beforeEach(async () => {
  home = await Home.make();
});
afterEach(async () => {
  await home.remove();
});

const keysOf = ({ keys }: Access): string[] => Object.values(keys).filter((key) => key !== undefined);
const accessFile = (): string => home.path("default", "access.json");
const start = (...more: string[]): Promise<{ readonly url: string }> =>
  home.json("start", "--local-governors=1", "--listen=127.0.0.1:0", ...more);

describe("rain access split", () => {
  test("makes files that hold one key each and allow what their role may", async () => {
    await start();
    const file = (role: string): string => home.path(`${role}.json`);
    const made = await home.json(
      "access",
      "split",
      ...["client", "governor", "viewer"].map((r) => `--${r}=${file(r)}`),
    );
    expect(made).toEqual({
      files: ["client", "governor", "viewer"].map((role) => ({ role, path: file(role) })),
    });
    const whole = await loadAccess(accessFile());
    for (const role of ["client", "governor", "viewer"] as const) {
      expect(statSync(file(role)).mode & 0o777).toBe(0o600);
      expect(await loadAccess(file(role))).toEqual({ ...whole, keys: { [role]: whole.keys[role] } });
    }
    expect((await home.rain("access", "split", `--client=${file("client")}`)).err).toContain(
      "exists already",
    );
    expect((await home.rain("access", "split")).code).toBe(2);

    const as = (role: string, ...words: string[]): ReturnType<Home["rain"]> =>
      home.rain(...words, "--access-file", file(role));
    expect((await as("viewer", "status")).out).toContain("connected");
    expect(await as("viewer", "stop")).toMatchObject({ code: 77, err: "rain: Not allowed.\n" });
    expect((await as("governor", "status")).err).toContain("has no client key");
    expect((await as("viewer", "governor")).err).toContain("holds no governor key");
    expect((await as("client", "stop")).code).toBe(0);
  });
});

describe("rain access rotate", () => {
  test("a running server takes the new keys and closes what has the old ones", async () => {
    const { url } = await start();
    const old = await loadAccess(accessFile());
    const copy = home.path("copy.json");
    await home.json("access", "split", `--client=${copy}`);
    const stale = await Client.connect({ accessFile: copy, reconnectS: 20 });
    const own = await Client.connect({ accessFile: accessFile(), reconnectS: 60 });
    const rotated = await home.json("access", "rotate", "client", "governor", "client");
    expect(rotated).toEqual({ accessFile: accessFile(), rotated: ["client", "governor"], server: "running" });
    const fresh = await loadAccess(accessFile());
    expect(fresh).toEqual({ ...old, url, keys: { ...fresh.keys, viewer: old.keys.viewer } });
    expect(fresh.keys.client).not.toBe(old.keys.client);
    expect(fresh.keys.governor).not.toBe(old.keys.governor);
    // The copy is worth nothing now, not even to who was connected.
    await expect(Client.connect({ accessFile: copy, reconnectS: 0 })).rejects.toThrow(ConnectionError);
    await expect
      .poll(() => stale.serverInfo().then(() => "", String), { timeout: 60_000 })
      .toContain("client key");
    // Who has the file itself comes back with the new key: this client, and the governor.
    await expect
      .poll(async () => (await own.serverInfo()).governors.map(({ state }) => state), { timeout: 60_000 })
      .toEqual(["connected"]);
    const session = await own.newSession();
    const task = session.execute(["echo", "back"], { stdout: true });
    task.keepOutputs();
    await session.submit();
    expect((await task.output.fetch()).text()).toBe("back\n");
    await own.close();
  });

  test("without a server it changes the file; a copy is not changed", async () => {
    await start();
    await home.json("stop");
    const old = await loadAccess(accessFile());
    expect(await home.json("access", "rotate", "viewer")).toMatchObject({ server: "stopped" });
    expect((await loadAccess(accessFile())).keys).toEqual({ ...old.keys, viewer: expect.any(String) });
    expect((await home.rain("access", "rotate", "viewer", "--access-file", accessFile())).code).toBe(2);
    expect((await home.rain("access", "rotate", "boss")).code).toBe(2);
    expect((await home.rain("access", "rotate")).code).toBe(2);
  });
});

test("case 47: commands refuse an access file that is open, linked, cut, of another cluster or with another certificate", async () => {
  await start();
  const access = await loadAccess(accessFile());
  const file = home.path("bad.json");
  const problem = async (text: string, mode = 0o600): Promise<string> => {
    writeFileSync(file, text, { mode });
    const { code, err, out } = await home.rain("status", "--access-file", file);
    expect([65, 77]).toContain(code);
    for (const key of keysOf(access)) expect(err + out).not.toContain(key.slice(6));
    return err;
  };
  expect(await problem(JSON.stringify(access).slice(0, 200))).toContain("is not valid JSON");
  expect(await problem(JSON.stringify({ ...access, clusterId: "other" }))).toContain(
    "belongs to the cluster",
  );
  expect(await problem(JSON.stringify({ ...access, url: "https://127.0.0.1:1" }))).toContain("needs certPem");
  const otherKey: Access = { ...access, keys: { client: createKey("client") } };
  expect(await problem(JSON.stringify(otherKey))).toContain("does not accept this client key");
});

/** Addresses that processes of this home listen on, from the kernel's tables. */
function listening(): string[] {
  const sockets = new Set(
    home
      .daemons()
      .flatMap(({ pid }) =>
        readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`)),
      ),
  );
  const LISTEN = "0A";
  return ["tcp", "tcp6"].flatMap((table) =>
    readFileSync(`/proc/net/${table}`, "utf8")
      .trim()
      .split("\n")
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => fields[3] === LISTEN && sockets.has(`socket:[${fields[9]}]`))
      .map((fields) => (fields[1] ?? "").split(":")[0] ?? ""),
  );
}
const LOOPBACK = "0100007F";
const EVERYWHERE = "00000000";

test("case 48: without --listen everything is on loopback", async () => {
  await start();
  const addresses = listening();
  expect(addresses).toHaveLength(2); // the server's port and the governor's
  expect(new Set(addresses)).toEqual(new Set([LOOPBACK]));
});

test("rain start --listen 0.0.0.0 serves https; ready file, status and access file say so", async () => {
  const started = await home.json<{ url: string }>("start", "--local-governors=1", "--listen=0.0.0.0:0");
  expect(started.url).toMatch(/^https:\/\/[^/]+:\d+$/);
  expect(listening().toSorted()).toEqual([EVERYWHERE, LOOPBACK]);
  const status = await home.json<{ server: { url: string }; governors: object[] }>("status");
  expect(status).toMatchObject({ server: { url: started.url }, governors: [{ state: "connected" }] });
  expect(await loadAccess(accessFile())).toMatchObject({
    url: started.url,
    certPem: expect.stringContaining("BEGIN CERTIFICATE"),
  });
  const ready = home.path("g.ready");
  home.spawn("governor", "--name=g", "--cpus=1", "--listen=0.0.0.0", `--ready-file=${ready}`);
  await expect.poll(() => home.read("g.ready"), { timeout: 60_000 }).toContain(started.url);
  expect(listening().toSorted()).toEqual([EVERYWHERE, EVERYWHERE, LOOPBACK]);
});

test("case 49: no key is in a log, a command line, a task's environment, an error or the journal", async () => {
  // What users do: the variable is exported where everything is started.
  home.extra = { RAIN_ACCESS_FILE: accessFile() };
  await start();
  const { keys } = await loadAccess(accessFile());
  const client = await Client.connect({ accessFile: accessFile() });
  const session = await client.newSession("keys", { onError: "continue" });
  const look = "env; cat /proc/[0-9]*/cmdline | tr '\\0' ' '; cat /proc/$PPID/environ | tr '\\0' '\\n'";
  const task = session.execute(["sh", "-c", look], { stdout: true });
  const fails = session.execute(["sh", "-c", "env >&2; exit 1"]);
  task.keepOutputs();
  await session.submit();
  const seen = (await task.output.fetch()).text();
  const problem = await fails.wait().then(() => "", String);
  expect(seen).toContain("RAIN_TASK_ID=");
  expect(seen.split("\n").filter((line) => line.startsWith("RAIN_ACCESS_FILE"))).toEqual([]);
  await client.close();
  const texts = [seen, problem];
  for (const args of [
    ["status"],
    ["sessions"],
    ["explain", `${session.id}/1`],
    ["logs", `${session.id}/1`],
  ]) {
    const { out, err } = await home.rain(...args);
    texts.push(out, err);
  }
  const wrong = home.path("wrong.json");
  const { client: _, ...others } = keys;
  const access = await loadAccess(accessFile());
  writeFileSync(wrong, JSON.stringify({ ...access, keys: { ...others, client: createKey("client") } }), {
    mode: 0o600,
  });
  texts.push((await home.rain("status", "--access-file", wrong)).err);
  await home.json("access", "rotate", "client");
  const after = await loadAccess(accessFile());
  const commandLines = home.processes().map((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8"));
  texts.push(...commandLines);
  await home.json("stop");
  const files = readdirSync(home.dir, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  const names = files.map((file) => relative(home.dir, file));
  expect(names).toEqual(
    expect.arrayContaining(["default/logs/server.log", "default/logs/audit.jsonl", "default/access.json"]),
  );
  expect(names.some((name) => name.startsWith("default/journal/"))).toBe(true);
  for (const file of files.filter((each) => each !== accessFile() && each !== wrong))
    texts.push(readFileSync(file, "latin1"));
  const secrets = [...keysOf(access), ...keysOf(after)].flatMap((key) => [
    key.slice(6),
    Buffer.from(key).toString("hex"),
    Buffer.from(key).toString("base64").slice(0, 60),
  ]);
  expect(texts.flatMap((text) => secrets.filter((secret) => text.includes(secret)))).toEqual([]);
  // The search finds what is there.
  expect(readFileSync(accessFile(), "utf8")).toContain(after.keys.client?.slice(6));
});
