import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { output, type Session } from "@rain/client";
import { Cluster } from "./cluster.ts";

let cluster: Cluster | undefined;
afterEach(async () => cluster?.stop());

const LARGE = 300_000;

it("a task that finished before is not run again, across sessions, their end, a killed server and lost copies", async () => {
  cluster = await Cluster.start([1, 1]);
  const log = join(cluster.home, "ran.log");
  await writeFile(log, "");
  const ran = async (): Promise<string> =>
    (await readFile(log, "utf8")).split("\n").filter(Boolean).toSorted().join();
  const client = await cluster.connect();

  /** One small output, one large one, and a program over both. */
  const build = (session: Session) => {
    const small = session.execute(["sh", "-c", `echo small >> ${log}; echo 42`], {
      cache: true,
      stdout: true,
    });
    const large = session.execute(
      ["sh", "-c", `echo large >> ${log}; head -c ${LARGE} /dev/zero | tr '\\0' x > big`],
      { cache: true, outputPaths: [output("big", { path: "big" })], name: "large" },
    );
    const both = session.execute(
      ["sh", "-c", `echo both >> ${log}; cat $0 $1 | wc -c`, small.output, large.output],
      {
        cache: true,
        stdout: true,
      },
    );
    for (const task of [small, large, both]) task.output.keep();
    return { small, large, both };
  };
  const check = async ({ small, large, both }: ReturnType<typeof build>): Promise<void> => {
    expect((await small.output.fetch()).text()).toBe("42\n");
    expect((await large.output.fetch()).text()).toBe("x".repeat(LARGE));
    expect(Number((await both.output.fetch()).text())).toBe(LARGE + 3);
  };
  const run = async (name: string) => {
    const session = await client.newSession(name);
    const tasks = build(session);
    await session.submit();
    await session.waitAll();
    return { session, tasks };
  };
  const all = "both,large,small";

  const first = await run("first");
  await check(first.tasks);
  expect(await ran()).toBe(all);

  const second = await run("second");
  await check(second.tasks);
  expect(await ran()).toBe(all);
  await second.tasks.large.update();
  expect(second.tasks.large.info).toMatchObject({ cached: true, attempt: 0 });
  const explained = await cluster.rain("explain", `${second.session.id}/${second.tasks.large.id}`);
  expect(explained.stdout).toContain(
    `task ${first.session.id}/${first.tasks.large.id} (large) did the same before`,
  );

  await first.session.close();
  // The large output is the second session's now: for clients, and for programs that read it on the other governor too.
  await check(second.tasks);
  const readers = Array.from({ length: 4 }, (_, n) =>
    second.session.execute(["sh", "-c", `sleep 0.2; echo ${n}; cat $0 | wc -c`, second.tasks.large.output], {
      stdout: true,
    }),
  );
  for (const reader of readers) reader.output.keep();
  await second.session.submit();
  await second.session.waitAll();
  for (const [n, reader] of readers.entries())
    expect((await reader.output.fetch()).text().trim().split(/\s+/).map(Number)).toEqual([n, LARGE]);

  await cluster.kill("server");
  await cluster.startServer();
  await check(second.tasks);
  const third = await run("third");
  await check(third.tasks);
  expect(await ran()).toBe(all);

  // Every copy of the large output is lost. Whoever needs it makes it anew, and the bytes are the same.
  for (const name of ["g0", "g1"]) await cluster.kill(name);
  for (const name of ["g0", "g1"]) await cluster.startGovernor(name, 1);
  await check(third.tasks);
  expect((await ran()).replaceAll("large,", "")).toBe("both,small");

  await second.session.close();
  await third.session.close();
  // The small ones are in the server, and the large one in no session any more.
  const before = await ran();
  const last = await client.newSession("last");
  const { small, large } = build(last);
  await last.submit();
  await small.wait();
  await last.waitAll();
  expect(await ran()).toBe(before.replace("large", "large,large"));
  await Promise.all([small.update(), large.update()]);
  expect([small.info.cached, large.info.cached]).toEqual([true, undefined]);
  await client.close();
}, 120_000);
