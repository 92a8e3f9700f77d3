import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { Cluster, launchRain, until } from "../cluster.ts";

let cluster: Cluster | undefined;
afterEach(async () => cluster?.stop(), 60_000);

/** A folder with one shell program. */
async function makeProject(home: string, script: string): Promise<string> {
  const folder = join(home, "project");
  await mkdir(folder);
  await writeFile(join(folder, "trial.sh"), script);
  return folder;
}

interface Started {
  readonly trial: number;
  readonly governor: string;
}
/** What trials have written to a file as `NUMBER FOLDER`. */
async function startedIn(file: string): Promise<Started[]> {
  const lines = (await readFile(file, "utf8")).split("\n").filter(Boolean);
  return lines.map((line) => ({
    trial: Number(line.split(" ")[0]),
    governor: /\/work\/(g\d)\//.exec(line)?.[1] ?? "",
  }));
}

async function json<T>(of: Cluster, ...args: string[]): Promise<T> {
  const { exitCode, stdout, stderr } = await of.rain(...args, "-o", "json");
  if (exitCode !== 0) throw new Error(`rain ${args.join(" ")}: ${exitCode}\n${stderr}`);
  return JSON.parse(stdout) as T;
}
interface Status {
  readonly state: string;
  readonly counts: Readonly<Record<string, number>>;
}
interface Results {
  readonly experiments: readonly {
    readonly experiment: number;
    readonly state: string;
    readonly metrics: Readonly<Record<string, number>>;
    readonly cached: boolean;
    readonly governor: string;
  }[];
}

const TRIALS = 40;
/** From this trial on they wait at the gate, so that the faults hit a run that still runs. */
const GATED = 20;

it("a run outlives its terminal, the server and a governor, and no trial finishes twice", async () => {
  // Nobody is to be given up because the machine is busy: the killed governor is, since it is started anew.
  cluster = await Cluster.start([2, 2], { leaseS: 600 });
  const { home } = cluster;
  const [log, gate] = [join(home, "started.log"), join(home, "gate")];
  await writeFile(log, "");
  const script = `echo "$1 $PWD" >> '${log}'
while test "$1" -ge ${GATED} && ! test -e '${gate}'; do sleep 0.1; done
sleep 0.1; echo "value=$1"
`;
  const project = await makeProject(home, script);
  const words = ["--name", "faults", "--localdir", project, "trial.sh", `range(${TRIALS})`];
  const terminal = launchRain(["run", ...words], { RAIN_HOME: home });
  const started = (): Promise<Started[]> => startedIn(log);

  await until(async () => (await started()).length >= 4);
  // A session that is not is closed minutes after its terminal: later than this test.
  const client = await cluster.connect();
  expect((await client.find("faults")).detached).toBe(true);
  await client.close();
  terminal.kill("SIGKILL");
  expect((await terminal).signal).toBe("SIGKILL");
  await until(async () => (await started()).length >= 10);
  await cluster.kill("server");
  await cluster.startServer();
  await until(async () =>
    (await started()).some(({ trial, governor }) => trial >= GATED && governor === "g1"),
  );
  await cluster.kill("g1");
  await cluster.startGovernor("g1", 2);
  await writeFile(gate, "");

  const { counts } = await until(async () => {
    const status = await json<Status>(cluster as Cluster, "status", "faults");
    return status.state !== "running" && status;
  });
  expect(counts).toMatchObject({ finished: TRIALS, failed: 0, cancelled: 0, aborted: 0 });
  const { experiments } = await json<Results>(cluster, "results", "faults");
  expect(experiments.map(({ experiment, state, metrics }) => [experiment, state, metrics["value"]])).toEqual(
    Array.from({ length: TRIALS }, (_, at) => [at, "finished", at]),
  );
  const starts = await started();
  for (let trial = 0; trial < TRIALS; trial += 1) {
    const own = starts.filter((one) => one.trial === trial);
    // Only what ran on the killed governor may have been started again.
    const most = own.some(({ governor }) => governor === "g1") ? 2 : 1;
    expect(own.length, `starts of trial ${trial}`).toBeLessThanOrEqual(most);
    expect(own.length).toBeGreaterThan(0);
  }
  const again = starts.length - TRIALS;
  expect(again, "what ran on the killed governor was started again").toBeGreaterThan(0);
}, 180_000);

it("a larger sweep with --cache runs only what is new", async () => {
  cluster = await Cluster.start([2]);
  const { home } = cluster;
  const log = join(home, "started.log");
  await writeFile(log, "");
  const project = await makeProject(home, `echo "$1 $PWD" >> '${log}'; echo "value=$1"\n`);
  const run = async (name: string, values: string): Promise<string> => {
    const words = ["--cache", "--name", name, "--localdir", project, "trial.sh", values];
    const { exitCode, stdout, stderr } = await (cluster as Cluster).rain("run", ...words);
    expect(exitCode, stderr).toBe(0);
    return stdout;
  };
  expect(await run("small", "[1, 2, 3]")).not.toContain("cache");
  const out = await run("large", "[1, 2, 3, 4]");
  expect(out).toContain("3 of 4 from the cache");
  expect((await startedIn(log)).map(({ trial }) => trial).toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4]);
  const { experiments } = await json<Results>(cluster, "results", "large");
  expect(experiments.map(({ cached, metrics }) => [cached, metrics["value"]])).toEqual([
    [true, 1],
    [true, 2],
    [true, 3],
    [false, 4],
  ]);
}, 60_000);

it("without a server and a terminal the error names both ways to start one", async () => {
  cluster = await Cluster.start([1]);
  const home = join(cluster.home, "empty");
  const { exitCode, stderr } = await launchRain(["run", "--no-localdir", "/bin/echo", "[1, 2]"], {
    RAIN_HOME: home,
  });
  expect(exitCode).toBe(69);
  expect(stderr).toContain("no server is running");
  expect(stderr).toContain('"rain start --simple"');
  expect(stderr).toContain('"rain run --local"');
}, 60_000);
