import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import {
  batchHosts,
  expandCounts,
  expandNodeList,
  pbsNodes,
  slurmNodes,
} from "../../packages/cli/src/cluster/batch.ts";
import { isThisMachine, parseHostFile } from "../../packages/cli/src/cluster/hosts.ts";

const none = { labels: {}, resources: {} };

describe("host files", () => {
  test("hosts with settings, comments and blank lines", () => {
    const text = [
      "# our machines",
      "",
      "alice@gpu1.example cpus=8 gpus=4 memory=64G label.instance_type=4_v100_16gb name=big # comment",
      '  gpu2  label.room="the cellar" label.empty= resource.licence=2.5 port=2222',
      "10.0.0.7\tworkdir=/fast/rain config=/etc/rain.toml",
      "bob@fe80::1",
    ].join("\n");
    expect(parseHostFile(text, "hosts")).toEqual([
      {
        address: "alice@gpu1.example",
        name: "big",
        cpus: 8,
        gpus: 4,
        memory: 64 * 2 ** 30,
        labels: { instance_type: "4_v100_16gb" },
        resources: {},
      },
      {
        address: "gpu2",
        name: "gpu2",
        port: 2222,
        labels: { room: "the cellar", empty: "" },
        resources: { licence: 2.5 },
      },
      { address: "10.0.0.7", name: "10.0.0.7", workdir: "/fast/rain", config: "/etc/rain.toml", ...none },
      { address: "bob@fe80::1", name: "fe80--1", ...none },
    ]);
  });

  test("several governors on a machine get names of their own", () => {
    const names = (text: string): string[] => parseHostFile(text, "hosts").map(({ name }) => name);
    expect(names("m\nu@m\nm\nn name=m-3")).toEqual(["m", "m-2", "m-4", "m-3"]);
  });

  test.each([
    ["a\n\nb cpus=0", "hosts:3: cpus=0: write a whole number from 1"],
    ["a cpus=x", "hosts:1: cpus=x"],
    ["a gpu=1", "hosts:1: gpu is not known; known are name, port, cpus"],
    ["a extra", 'hosts:1: "extra": write key=value'],
    ["-oProxyCommand=x", "hosts:1: "],
    ["u@-x", "hosts:1: "],
    ["a;b", "hosts:1: "],
    ["a name=../x", "hosts:1: name=../x"],
    ["a resource.x=-1", "hosts:1: resource.x=-1"],
    ["a memory=lots", "memory"],
    ["a name=x\nb name=x", "the name x is given twice"],
    ["# nothing\n", "hosts names no host"],
  ])("%j is refused with its line", (text, message) => {
    expect(() => parseHostFile(text, "hosts")).toThrow(message);
  });

  test("this machine by any of its names", () => {
    for (const name of ["localhost", "u@127.0.0.1", "::1", "node7", "node7.cluster.example"])
      expect(isThisMachine(name, "node7.cluster.example")).toBe(true);
    expect(isThisMachine("node7.cluster.example", "node7")).toBe(true);
    expect(isThisMachine("node70", "node7")).toBe(false);
    expect(isThisMachine("login.cluster.example", "node7.cluster.example")).toBe(false);
  });
});

describe("Slurm", () => {
  test.each([
    ["n1", ["n1"]],
    ["node[01-03,07]", ["node01", "node02", "node03", "node07"]],
    ["a,b[8-11],c", ["a", "b8", "b9", "b10", "b11", "c"]],
    ["rack[1-2]n[01-02].x", ["rack1n01.x", "rack1n02.x", "rack2n01.x", "rack2n02.x"]],
    ["n[098-101]", ["n098", "n099", "n100", "n101"]],
    ["n1,n1,n[1-2]", ["n1", "n2"]],
  ])("the nodes of %s", (text, nodes) => {
    expect(expandNodeList(text)).toEqual(nodes);
  });

  test.each([
    "n[1-2",
    "n]1[",
    "n[2-1]",
    "n[a-b]",
    "n[]",
    "n[1-99999999]",
    ",a",
    "a,,b",
    "n[1-4096]x[1-4096]",
  ])("%s is no node list", (text) => {
    expect(() => expandNodeList(text)).toThrow(/node list/);
  });

  test("cpus on the nodes in order, or the same on all", () => {
    expect(expandCounts("72(x2),36", 3)).toEqual([72, 72, 36]);
    expect(expandCounts("16", 3)).toEqual([16, 16, 16]);
    expect(expandCounts("", 3)).toEqual([]);
    expect(() => expandCounts("many", 1)).toThrow("SLURM_JOB_CPUS_PER_NODE");
  });

  test("a job as sbatch describes it", () => {
    const env = {
      SLURM_JOB_NODELIST: "gpu[1-2],cpu9",
      SLURM_JOB_CPUS_PER_NODE: "64(x2),128",
      SLURM_GPUS_PER_NODE: "a100:4",
      SLURM_MEM_PER_NODE: "2048",
    };
    expect(slurmNodes(env)).toEqual([
      { address: "gpu1", cpus: 64, gpus: 4, memory: 2 ** 31, ...none },
      { address: "gpu2", cpus: 64, gpus: 4, memory: 2 ** 31, ...none },
      { address: "cpu9", cpus: 128, gpus: 4, memory: 2 ** 31, ...none },
    ]);
    const perCpu = { SLURM_JOB_NODELIST: "n1", SLURM_JOB_CPUS_PER_NODE: "4", SLURM_MEM_PER_CPU: "1024" };
    expect(slurmNodes(perCpu)).toEqual([{ address: "n1", cpus: 4, memory: 2 ** 32, ...none }]);
    const all = { SLURM_NODELIST: "n1", SLURM_MEM_PER_NODE: "0", SLURM_GPUS_PER_NODE: "2" };
    expect(slurmNodes(all)).toEqual([{ address: "n1", gpus: 2, ...none }]);
  });

  test("outside a job, and what cannot be read", () => {
    expect(() => batchHosts("slurm", {})).toThrow("not inside a Slurm job");
    expect(() => slurmNodes({ SLURM_JOB_NODELIST: "-oX" })).toThrow("no name of a node");
    expect(() => slurmNodes({ SLURM_JOB_NODELIST: "n", SLURM_MEM_PER_NODE: "2G" })).toThrow(
      "SLURM_MEM_PER_NODE",
    );
    expect(() => slurmNodes({ SLURM_JOB_NODELIST: "n", SLURM_GPUS_PER_NODE: "a:b" })).toThrow(
      "SLURM_GPUS_PER_NODE",
    );
  });
});

describe("PBS", () => {
  test("a line a processor, as Torque writes it", () => {
    expect(pbsNodes("n2\nn2\nn1\nn2\n", {})).toEqual([
      { address: "n2", cpus: 3, ...none },
      { address: "n1", cpus: 1, ...none },
    ]);
  });

  test("a line a process with NCPUS, as PBS Pro writes it", () => {
    expect(pbsNodes("n1.cluster\nn2.cluster\n", { NCPUS: "8" })).toEqual([
      { address: "n1.cluster", cpus: 8, ...none },
      { address: "n2.cluster", cpus: 8, ...none },
    ]);
    expect(pbsNodes("n1\n", { PBS_NUM_PPN: "4", NCPUS: "1" })).toEqual([{ address: "n1", cpus: 4, ...none }]);
  });

  test("the file that PBS_NODEFILE names", () => {
    const folder = mkdtempSync(join(tmpdir(), "rain-pbs-"));
    try {
      writeFileSync(join(folder, "nodes"), "n1\nn1\n");
      const hosts = batchHosts("pbs", { PBS_NODEFILE: join(folder, "nodes") });
      expect(hosts).toEqual([{ address: "n1", name: "n1", cpus: 2, ...none }]);
      expect(() => batchHosts("pbs", {})).toThrow("not inside a PBS job");
      expect(() => pbsNodes("\n", {})).toThrow("names no node");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
