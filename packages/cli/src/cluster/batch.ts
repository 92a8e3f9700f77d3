import { readFileSync } from "node:fs";
import { exitCodes } from "../exit-codes.ts";
import { CommandError } from "../failure.ts";
import { nameHosts, type Draft, type Host } from "./hosts.ts";

/** The nodes of a batch job, from the environment that its batch system gives it. */

export type BatchSystem = "pbs" | "slurm";
const MAX_NODES = 4_096;

const problem = (text: string): CommandError => new CommandError(exitCodes.usage, text);

/** Throws (exit code 2) outside a job of that batch system. */
export function batchHosts(system: BatchSystem, env: NodeJS.ProcessEnv): readonly Host[] {
  if (system === "slurm") return nameHosts(slurmNodes(env), "SLURM_JOB_NODELIST");
  const file = env["PBS_NODEFILE"];
  if (file === undefined || file === "")
    throw problem("--autoconf=pbs: PBS_NODEFILE is not set: this is not inside a PBS job");
  return nameHosts(pbsNodes(readFileSync(file, "utf8"), env), file);
}

/**
 * PBS: a node is in its file once for each processor (Torque) or each process (PBS Pro), whose number of cpus NCPUS says.
 */
export function pbsNodes(nodeFile: string, env: NodeJS.ProcessEnv): Draft[] {
  const counts = new Map<string, number>();
  for (const line of nodeFile.split("\n")) {
    const node = line.trim();
    if (node !== "") counts.set(node, (counts.get(node) ?? 0) + 1);
  }
  if (counts.size === 0) throw problem("--autoconf=pbs: the file of PBS_NODEFILE names no node");
  const each = countOf(env, "PBS_NUM_PPN") ?? countOf(env, "NCPUS") ?? 0;
  return [...counts].map(([address, lines]) => draft(address, Math.max(lines, each)));
}

/** Slurm: the list of nodes, and `72(x2),36` cpus on them in order. */
export function slurmNodes(env: NodeJS.ProcessEnv): Draft[] {
  const list = env["SLURM_JOB_NODELIST"] ?? env["SLURM_NODELIST"];
  if (list === undefined || list === "")
    throw problem("--autoconf=slurm: SLURM_JOB_NODELIST is not set: this is not inside a Slurm job");
  const nodes = expandNodeList(list);
  const cpus = expandCounts(env["SLURM_JOB_CPUS_PER_NODE"] ?? "", nodes.length);
  const gpus = gpusPerNode(env["SLURM_GPUS_PER_NODE"]);
  const perNode = countOf(env, "SLURM_MEM_PER_NODE");
  const perCpu = countOf(env, "SLURM_MEM_PER_CPU");
  return nodes.map((node, at) => {
    const count = cpus[at];
    const megabytes = perNode ?? (perCpu === undefined || count === undefined ? undefined : perCpu * count);
    return {
      ...draft(node, count),
      ...(gpus === undefined ? {} : { gpus }),
      // 0 is Slurm's word for all of the node's memory.
      ...(megabytes === undefined || megabytes === 0 ? {} : { memory: megabytes * 2 ** 20 }),
    };
  });
}

const draft = (address: string, cpus: number | undefined): Draft => {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(address))
    throw problem(`${JSON.stringify(address.slice(0, 100))} is no name of a node`);
  return { address, labels: {}, resources: {}, ...(cpus === undefined ? {} : { cpus }) };
};

function countOf(env: NodeJS.ProcessEnv, name: string): number | undefined {
  const value = env[name];
  if (value === undefined || value === "") return undefined;
  if (!/^\d{1,9}$/.test(value)) throw problem(`${name}=${value.slice(0, 100)} is not a whole number`);
  return Number(value);
}

/** `4`, `tesla:4` or `a100:2,h100:2`: GPUs of each node. */
function gpusPerNode(text: string | undefined): number | undefined {
  if (text === undefined || text === "") return undefined;
  const counts = text.split(",").map((part) => Number(/^(?:[^:,]+:)*(\d{1,4})(?:\(.*\))?$/.exec(part)?.[1]));
  if (counts.some(Number.isNaN)) throw problem(`SLURM_GPUS_PER_NODE=${text.slice(0, 100)} is not understood`);
  return counts.reduce((sum, count) => sum + count, 0);
}

/** `72(x2),36` as 72, 72, 36. A single number stands for all nodes. */
export function expandCounts(text: string, nodes: number): readonly (number | undefined)[] {
  if (text === "") return [];
  const counts: number[] = [];
  for (const part of text.split(",")) {
    const match = /^(\d{1,6})(?:\(x(\d{1,6})\))?$/.exec(part.trim());
    if (match === null) throw problem(`SLURM_JOB_CPUS_PER_NODE=${text.slice(0, 100)} is not understood`);
    const times = Math.min(Number(match[2] ?? 1), MAX_NODES);
    for (let time = 0; time < times; time += 1) counts.push(Number(match[1]));
  }
  const [first] = counts;
  return counts.length === 1 ? Array.from({ length: nodes }, () => first) : counts;
}

/** Slurm's short form of node names: `n[01-03,7],login,r[1-2]c[1-2]`, in order and without repetition. */
export function expandNodeList(text: string): string[] {
  const nodes = new Set<string>();
  for (const part of splitOutside(text)) for (const node of expandPart(part, text)) nodes.add(node);
  return [...nodes];
}

/** At commas that are not inside brackets. */
function splitOutside(text: string): string[] {
  const parts = text.match(/(?:[^,[\]]|\[[^[\]]*\])+/g) ?? [];
  if (parts.join(",") !== text) throw notUnderstood(text);
  return parts;
}

function expandPart(part: string, all: string): string[] {
  const match = /^([^[]*)\[([^\]]*)\](.*)$/.exec(part);
  if (match === null) return [part];
  const [, head = "", ranges = "", tail = ""] = match;
  const tails = expandPart(tail, all);
  const nodes: string[] = [];
  for (const range of ranges.split(",")) {
    for (const number of expandRange(range, all)) for (const end of tails) nodes.push(head + number + end);
    if (nodes.length > MAX_NODES) throw problem(`the node list names more than ${MAX_NODES} nodes`);
  }
  return nodes;
}

/** `01-03` as 01, 02, 03: the width of the first number is that of all. */
function expandRange(range: string, all: string): string[] {
  const match = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(range);
  const [, first = "", last = first] = match ?? [];
  const count = Number(last) - Number(first) + 1;
  if (match === null || count < 1 || count > MAX_NODES) throw notUnderstood(all);
  return Array.from({ length: count }, (_, at) => String(Number(first) + at).padStart(first.length, "0"));
}

const notUnderstood = (text: string): CommandError =>
  problem(
    `the node list ${JSON.stringify(text.slice(0, 200))} is not understood; it is written as n[01-03,07]`,
  );
