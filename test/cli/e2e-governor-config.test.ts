import { writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { Client } from "@rain/client";
import { afterEach, beforeEach, expect, test } from "vitest";
import { allowedCpus } from "@rain/governor";
import { Home } from "./rain.ts";

const limit = { timeout: 180_000 };
let home: Home;
beforeEach(async () => {
  home = await Home.make();
});
afterEach(() => home.remove(), 60_000);

interface Listed {
  readonly governors: readonly {
    readonly id: number;
    readonly name: string;
    readonly capacity: {
      readonly cpus: number;
      readonly memory: number;
      readonly named: Record<string, number>;
    };
    readonly labels: Record<string, string>;
    readonly environments: readonly string[];
    readonly executors: readonly string[];
    readonly costPerHour: number | null;
  }[];
}

test("a governor by its configuration file: environments, labels, pinned cpus", limit, async () => {
  const cpus = Math.min(2, allowedCpus().length);
  writeFileSync(
    home.path("g.toml"),
    [
      'name = "from-file"',
      "cost_per_hour = 2.5",
      "pin_cpus = true",
      `resources = { cpus = ${cpus}, memory = "2G", named = { licence = 2 } }`,
      "[labels]",
      'instance_type = "4_v100_16gb"',
      'zone = "a"',
      "[environments.greeting]",
      'prefix = ["env", "GREETING=good day"]',
      "[executors.echo]",
      'command = ["cat"]',
      "[folders]",
      'work = "work"',
    ].join("\n"),
  );
  await home.json("start", "--local-governors=1", "--listen=0");
  // Flags win over the file.
  const up = await home.json<{ name: string; pid: number }>(
    ...[
      "governor",
      "--background",
      "--config=g.toml",
      "--memory=1G",
      "--label=zone=b",
      "--executor=tea=tee x",
    ],
  );
  expect(up.name).toBe("from-file");
  const { governors } = await home.json<Listed>("governors");
  expect(governors[1]).toMatchObject({
    name: "from-file",
    capacity: { cpus, memory: 2 ** 30, named: { licence: 2 } },
    labels: { instance_type: "4_v100_16gb", zone: "b" },
    environments: ["greeting"],
    executors: ["echo", "tea"],
    costPerHour: 2.5,
  });
  expect(home.read("work", "identity")).toBeDefined();

  const client = await Client.connect({ accessFile: home.path("default", "access.json") });
  try {
    const session = await client.newSession("environments", { onError: "continue" });
    const stdout = true;
    const greet = session.execute(["sh", "-c", "echo $GREETING"], { stdout, environment: "greeting" });
    const where = session.execute("true", { stdout, labels: { instance_type: "4_v100_16gb", zone: "b" } });
    const pinned = Array.from({ length: cpus }, (_, n) =>
      session.execute("grep Cpus_allowed_list /proc/self/status", {
        stdout,
        name: `pinned ${n}`,
        labels: { zone: "b" },
      }),
    );
    const nowhere = session.execute("true", { stdout, environment: "torch" });
    const elsewhere = session.execute("true", { stdout, labels: { zone: "a" } });
    session.keepAll();
    await session.submit();
    expect((await greet.output.fetch()).text()).toBe("good day\n");
    await where.wait();
    await where.update();
    expect(where.info.governor).toBe("from-file");
    for (const run of pinned) {
      // One cpu, not a range or a list.
      expect((await run.output.fetch()).text()).toMatch(/^Cpus_allowed_list:\t\d+\n$/);
    }
    const explain = async (task: number): Promise<string> =>
      (await home.json<{ lines: string[] }>("explain", `${session.id}/${task}`)).lines.join("\n");
    expect(await explain(nowhere.id)).toContain("environment torch (has greeting)");
    expect(await explain(nowhere.id)).toContain("local-1 lacks environment torch (has none)");
    expect(await explain(elsewhere.id)).toContain("label zone=a (has zone=b)");
    await session.close();
  } finally {
    await client.close();
  }

  const ambiguous = await home.rain("governors", "stop", "nobody");
  expect(ambiguous.code).toBe(1);
  expect(ambiguous.err).toContain("known: 1 (local-1), 2 (from-file)");
  await home.json("governors", "stop", "2");
  await expect
    .poll(() => home.daemons().map(({ name }) => name), { timeout: 30_000 })
    .toEqual(["server", "local-1"]);
});

test("a configuration with a mistake starts nothing", limit, async () => {
  await home.json("start", "--local-governors=1", "--listen=0");
  writeFileSync(home.path("g.toml"), "name = 'x'\n\n[resources]\ncpu = 4\n");
  for (const more of [[], ["--background"]]) {
    const { code, err } = await home.rain("governor", "--config=g.toml", ...more);
    expect(code).toBe(2);
    expect(err).toMatch(/g\.toml:4: resources\.cpu is not known; known here: cpus/);
  }
  const absent = await home.rain("governor", "--config=none.toml");
  expect(absent.code).not.toBe(0);
  expect(absent.err).toContain("none.toml");
  expect(home.daemons()).toHaveLength(2);
});

test("the node of a batch job on which it is started gets its governor without ssh", limit, async () => {
  home.extra = { SLURM_JOB_NODELIST: hostname(), SLURM_JOB_CPUS_PER_NODE: "3", SLURM_MEM_PER_NODE: "512" };
  const { governors } = await home.json<Listed>("start", "--autoconf=slurm", "-S", "--listen=0");
  expect(governors).toMatchObject([{ cpus: 2, memory: 512 * 2 ** 20 }]);
  await home.json("stop");
  writeFileSync(home.path("nodes"), `${hostname()}\n${hostname()}\n`);
  home.extra = { PBS_NODEFILE: home.path("nodes") };
  const pbs = await home.json<Listed>("start", "--autoconf=pbs", "--listen=0");
  expect(pbs.governors).toMatchObject([{ cpus: 2 }]);
  await home.json("stop");
  home.extra = {};
  const outside = await home.rain("start", "--autoconf=pbs", "--listen=0");
  expect(outside.code).toBe(2);
  expect(outside.err).toContain("not inside a PBS job");
});
