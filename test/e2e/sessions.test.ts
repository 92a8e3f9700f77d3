import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { execa } from "execa";
import { afterAll, expect, it } from "vitest";
import { Cluster, until } from "./cluster.ts";

const cluster = await Cluster.start([4]);
afterAll(() => cluster.stop());
const root = resolve(import.meta.dirname, "../..");

it("closing a session stops its programs and frees everything", async () => {
  const client = await cluster.connect();
  const session = await client.newSession("closed");
  const pidFile = join(cluster.home, "pid");
  const kept = session.execute("echo kept", { stdout: true });
  kept.output.keep();
  session.execute(["sh", "-c", `echo $$ > ${pidFile}; sleep 600`]);
  await session.submit();
  await kept.wait();
  const pid = Number(
    await until(async () => existsSync(pidFile) && (await readFile(pidFile, "utf8")).trim()),
  );
  await session.close();
  await until(() => !existsSync(`/proc/${pid}/cwd`));
  await until(async () => {
    const { governors, sessions } = await client.serverInfo();
    const left = governors.flatMap((each) => [...each.tasks, ...each.objects]);
    return left.length === 0 && !sessions.some((each) => each.name === "closed");
  });
  await client.close();
}, 60_000);

it("a detached session lives on without its client, and ends by its time to live", async () => {
  const client = await cluster.connect();
  const gate = join(cluster.home, "gate");
  const session = await client.newSession("detached", { detached: true, ttlS: 0.5 });
  session.execute(["sh", "-c", `while [ ! -e ${gate} ]; do sleep 0.05; done`]);
  await session.submit();
  await client.close();
  const other = await cluster.connect();
  const isThere = async (): Promise<boolean> =>
    (await other.serverInfo()).sessions.some((each) => each.name === "detached");
  // Longer than its time to live, which only begins when its tasks are settled.
  await new Promise((done) => setTimeout(done, 1_500));
  expect(await isThere()).toBe(true);
  await writeFile(gate, "");
  await until(async () => !(await isThere()));
  await other.close();
}, 60_000);

it("sessions are independent: one fails, the other goes on", async () => {
  const client = await cluster.connect();
  const bad = await client.newSession("bad");
  const good = await client.newSession("good");
  const failing = bad.execute("false");
  const working = good.execute(["sh", "-c", "sleep 0.5; echo fine"], { stdout: true });
  working.output.keep();
  await Promise.all([bad.submit(), good.submit()]);
  await expect(failing.wait()).rejects.toThrow("exited with code 1");
  expect((await working.output.fetch()).text()).toBe("fine\n");
  expect(() => bad.execute("true")).toThrow();
  await Promise.all([bad.close(), good.close()]);
  await client.close();
}, 60_000);

it("another process attaches and fetches what was kept", async () => {
  const client = await cluster.connect();
  const session = await client.newSession("shared");
  const task = session.execute("echo for everybody", { stdout: true, name: "speak" });
  task.output.keep();
  await session.submit();
  await task.wait();
  const script = join(root, "examples", `.attach-${process.pid}.mjs`);
  await writeFile(
    script,
    `import { Client } from "@rain/client";
     const client = await Client.connect();
     const session = await client.attach(${session.id});
     process.stdout.write((await session.task("speak").output.fetch()).text());
     await client.close();`,
  );
  try {
    const { stdout } = await execa("node", [script], { env: { RAIN_HOME: cluster.home } });
    expect(stdout).toBe("for everybody");
  } finally {
    await execa("rm", [script]);
  }
  const { stdout } = await cluster.rain("sessions", "-o", "json");
  expect(stdout).toContain('"shared"');
  await session.close();
  await client.close();
}, 60_000);
