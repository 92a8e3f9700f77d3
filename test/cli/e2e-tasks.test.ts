import { writeFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Client } from "@rain/client";
import { Home } from "./rain.ts";

const limit = { timeout: 180_000 };
let home: Home;
beforeEach(async () => {
  home = await Home.make();
});
afterEach(() => home.remove(), 60_000);

test("sessions, explain and logs of a session with work", limit, async () => {
  await home.json("start", "--local-governors=2", "--listen=0");
  const client = await Client.connect({ accessFile: home.path("default", "access.json") });
  const session = await client.newSession("evil \u001b[31mname", { onError: "continue" });
  const gate = home.path("gate");
  const script = `printf 'one\\n'; echo two >&2; while [ ! -e '${gate}' ]; do sleep 0.05; done; echo three`;
  const task = session.execute(["sh", "-c", script], { name: "writer" });
  const large = session.execute("true", { cpus: 1_000 });
  const bad = session.execute(["sh", "-c", "exit 3"]);
  await session.submit();
  const name = `${session.id}/${task.id}`;

  const follow = home.spawn("logs", name, "-f");
  await expect.poll(follow.out, { timeout: 60_000 }).toBe("one\n");
  const so = await home.rain("logs", name);
  expect(so).toEqual({ code: 0, out: "one\n", err: "two\n" });
  const pieces = (await home.rain("logs", name, "--stream", "stderr", "-o", "json")).out.trim().split("\n");
  expect(pieces.map((line) => JSON.parse(line) as unknown)).toEqual([{ stream: "stderr", text: "two\n" }]);
  expect((await home.rain("explain", name)).out).toContain(`Task ${name}: running`);

  writeFileSync(gate, "");
  await task.wait();
  expect(await follow.ended).toBe(0);
  expect(follow.out()).toBe("one\nthree\n");
  expect(follow.err()).toBe("two\n");

  const waiting = await home.json<{ task: string; state: string; lines: string[] }>(
    "explain",
    `${session.id}/${large.id}`,
  );
  expect(waiting).toMatchObject({ task: `${session.id}/${large.id}`, state: "ready" });
  expect(waiting.lines.join("\n")).toContain("local-1");
  const none = await home.rain("logs", `${session.id}/${large.id}`);
  expect(none.code).toBe(1);
  expect(none.err).toContain("has not run");
  for (const argv of [
    ["explain", `${session.id}/99`],
    ["logs", `${session.id}/99`],
    ["explain", "99/0"],
  ])
    expect((await home.rain(...argv)).code).toBe(1);

  await bad.wait().catch(() => undefined);
  const sessions = await home.rain("sessions");
  expect(sessions.out).toContain("evil \\u001b[31mname");
  expect(sessions.out).toContain("connected");
  const listed = await home.json<{ sessions: { id: number; counts: Record<string, number> }[] }>("sessions");
  expect(listed.sessions).toMatchObject([{ id: session.id, counts: { ready: 1, finished: 1, failed: 1 } }]);
  await session.close();
  await client.close();
  expect((await home.rain("sessions")).out).toBe("no sessions\n");
  expect((await home.rain("stop")).code).toBe(0);
});
