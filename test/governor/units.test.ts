import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { allowedCpus, detectCapacity } from "@rain/governor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Pool, toRequest } from "../../packages/governor/src/core/pool.ts";
import { execute, failure, Kit, texts } from "./executor-kit.ts";

/** Units by number: GPUs, pinned cpus; and what environments put before a program. */

const request = (cpus: number): ReturnType<typeof toRequest> =>
  toRequest({ cpus, gpus: 0, memory: 0, named: {} });

describe("pinned cpus", () => {
  it("whole cpus are handed out by number, lowest first, and come back", () => {
    const pool = new Pool({ cpus: 3, gpus: 0, memory: 0, named: {} }, [9, 4, 6]);
    const two = pool.take(request(2));
    expect(two.cpuIds).toEqual([4, 6]);
    expect(pool.take(request(1)).cpuIds).toEqual([9]);
    pool.give(request(2), two);
    expect(pool.take(request(1)).cpuIds).toEqual([4]);
  });

  it("a part of a cpu is not pinned, nor is anything without pinning", () => {
    const pool = new Pool({ cpus: 3, gpus: 0, memory: 0, named: {} }, [0, 1, 2]);
    expect(pool.take(request(0.5)).cpuIds).toBeUndefined();
    expect(pool.take(request(1.5)).cpuIds).toBeUndefined();
    expect(pool.take(request(1)).cpuIds).toEqual([0]);
    expect(new Pool({ cpus: 1, gpus: 0, memory: 0, named: {} }).take(request(1)).cpuIds).toBeUndefined();
  });

  it("the system's list of allowed cpus is read with its ranges", () => {
    expect(allowedCpus("Name:\tx\nCpus_allowed_list:\t0-2,5,8-9\nMems:\t0\n")).toEqual([0, 1, 2, 5, 8, 9]);
    expect(allowedCpus().length).toBeGreaterThan(0);
    expect(() => allowedCpus("")).toThrow("no allowed cpus");
  });
});

describe("detected GPUs", () => {
  let root: string;
  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), "rain-devices-"));
  });
  afterAll(() => rm(root, { recursive: true, force: true }));

  const amd = async (node: number, id: number): Promise<void> => {
    const folder = join(root, "amd/sys/class/kfd/kfd/topology/nodes", String(node));
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, "gpu_id"), `${id}\n`);
  };

  it("NVIDIA's device files, AMD's topology, none", async () => {
    await mkdir(join(root, "nvidia/dev"), { recursive: true });
    for (const name of ["nvidia0", "nvidia1", "nvidia2", "nvidiactl", "nvidia-uvm"])
      await writeFile(join(root, "nvidia/dev", name), "");
    await amd(0, 0); // a processor
    await amd(1, 51_234);
    await amd(2, 4_711);
    const gpus = (part: string, env: NodeJS.ProcessEnv = {}): number =>
      detectCapacity({ root: join(root, part), env }).gpus;
    expect(gpus("nvidia")).toBe(3);
    expect(gpus("amd")).toBe(2);
    expect(gpus("none")).toBe(0);
    // What a batch system lets this process see.
    expect(gpus("nvidia", { CUDA_VISIBLE_DEVICES: "2,1" })).toBe(2);
    expect(gpus("nvidia", { CUDA_VISIBLE_DEVICES: "" })).toBe(0);
    expect(gpus("nvidia", { CUDA_VISIBLE_DEVICES: "-1" })).toBe(0);
    expect(gpus("nvidia", { ROCR_VISIBLE_DEVICES: "0" })).toBe(3);
    expect(gpus("amd", { ROCR_VISIBLE_DEVICES: "1" })).toBe(1);
  });
});

describe("before the program", () => {
  let kit: Kit;
  const stdout = [{ capture: "stdout" }] as const;
  beforeAll(async () => {
    kit = await Kit.start({
      baseEnv: { PATH: process.env["PATH"], CUDA_VISIBLE_DEVICES: "GPU-b,3" },
      gpus: 2,
      environments: new Map([
        ["greeting", ["env", "GREETING=hello world"]],
        ["absent", ["no-such-program-of-ours"]],
      ]),
    });
  });
  afterAll(() => kit.stop());

  it("the prefix of the environment that the task names", async () => {
    const line = 'echo "$GREETING"; printf "[%s]" "$@"';
    const work = execute("sh", "-c", line, "x", "a b", "'c'");
    const plain = await kit.run({ work, outputs: stdout });
    expect(texts(plain)).toEqual(["\n[a b]['c']"]);
    const within = await kit.run({ work: { ...work, environment: "greeting" } as never, outputs: stdout });
    expect(texts(within)).toEqual(["hello world\n[a b]['c']"]);
    const shell = { type: "execute", shell: true, args: ["echo $GREETING | cat"], environment: "greeting" };
    expect(texts(await kit.run({ work: shell as never, outputs: stdout }))).toEqual(["hello world\n"]);
  });

  it("an environment that is not there, or whose own program is not", async () => {
    const unknown = await kit.run({ work: { type: "execute", args: ["true"], environment: "torch" } });
    expect(failure(unknown)).toMatchObject({ reason: "launch" });
    expect(failure(unknown).message).toContain(
      'no environment "torch"; its configuration names greeting, absent',
    );
    const absent = await kit.run({ work: { type: "execute", args: ["true"], environment: "absent" } });
    expect(failure(absent)).toMatchObject({ reason: "program-not-found" });
  });

  it("a pinned program runs on its cpus only, and is still found or not found as itself", async () => {
    const [cpu = 0] = allowedCpus().toReversed();
    const allocation = { cpus: 1, cpuIds: [cpu] };
    const work = execute("grep", "Cpus_allowed_list", "/proc/self/status");
    const pinned = await kit.run({ work, outputs: stdout, allocation });
    expect(texts(pinned)).toEqual([`Cpus_allowed_list:\t${cpu}\n`]);
    const absent = await kit.run({ work: execute("no-such-program-of-ours"), allocation });
    expect(failure(absent)).toMatchObject({ reason: "program-not-found" });
  });

  it("GPUs by the names that the governor itself was given", async () => {
    const line = "echo $CUDA_VISIBLE_DEVICES $ROCR_VISIBLE_DEVICES $OMP_NUM_THREADS";
    const both = await kit.shell(line, { outputs: stdout, allocation: { cpus: 3, gpus: [0, 1] } });
    expect(texts(both)).toEqual(["GPU-b,3 0,1 3\n"]);
    const second = await kit.shell(line, { outputs: stdout, allocation: { gpus: [1] } });
    expect(texts(second)).toEqual(["3 1 1\n"]);
    const none = await kit.shell(line, { outputs: stdout });
    expect(texts(none)).toEqual(["1\n"]);
  });
});
