import { spawn, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { cpus, hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { execa } from "execa";

/** A real Slurm of one node, this machine, in a folder of its own. */

const find = (name: string): string | undefined =>
  [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin"]
    .map((folder) => join(folder, name))
    .find((path) => existsSync(path));
const programs = ["munged", "slurmctld", "slurmd", "srun", "sinfo"];

/** Why there can be no Slurm here; undefined when there can. */
export const noSlurm: string | undefined =
  process.getuid?.() !== 0
    ? "its daemons need root"
    : programs.some((name) => find(name) === undefined)
      ? `${programs.filter((name) => find(name) === undefined).join(", ")} not installed`
      : undefined;

export class Slurm {
  readonly #children: ChildProcess[] = [];
  readonly conf: string;
  readonly #dir: string;
  private constructor(dir: string) {
    this.#dir = dir;
    this.conf = join(dir, "slurm.conf");
  }

  static async start(dir: string): Promise<Slurm> {
    for (const folder of ["", "state", "spool"])
      mkdirSync(join(dir, folder), { recursive: true, mode: 0o700 });
    const slurm = new Slurm(dir);
    try {
      writeFileSync(slurm.conf, await slurm.#configuration());
      writeFileSync(join(dir, "munge.key"), randomBytes(128), { mode: 0o600 });
      const file = (name: string): string => `--${name}-file=${join(dir, `munge.${name}`)}`;
      const socket = join(dir, "munge.sock");
      slurm.#run(
        "munged",
        "--foreground",
        "--force",
        `--socket=${socket}`,
        ...["key", "pid", "log", "seed"].map(file),
      );
      await slurm.#until("munge", async () => existsSync(socket));
      slurm.#run("slurmctld", "-D");
      slurm.#run("slurmd", "-D");
      await slurm.#until("Slurm", async () => {
        const { stdout } = await execa("sinfo", ["-h", "-o", "%T"], {
          env: { SLURM_CONF: slurm.conf },
          reject: false,
        });
        return stdout?.trim() === "idle";
      });
      return slurm;
    } catch (error) {
      await slurm.stop();
      throw error;
    }
  }

  async #configuration(): Promise<string> {
    const host = hostname().split(".")[0] ?? "";
    const at = (name: string): string => join(this.#dir, name);
    return [
      "ClusterName=test",
      `SlurmctldHost=${host}(127.0.0.1)`,
      "SlurmUser=root",
      `SlurmctldPort=${await freePort()}`,
      `SlurmdPort=${await freePort()}`,
      "AuthType=auth/munge",
      "CredType=cred/munge",
      `AuthInfo=socket=${at("munge.sock")}`,
      `StateSaveLocation=${at("state")}`,
      `SlurmdSpoolDir=${at("spool")}`,
      `SlurmctldPidFile=${at("ctld.pid")}`,
      `SlurmdPidFile=${at("slurmd.pid")}`,
      `SlurmctldLogFile=${at("ctld.log")}`,
      `SlurmdLogFile=${at("slurmd.log")}`,
      "ProctrackType=proctrack/pgid",
      "TaskPlugin=task/none",
      "SelectType=select/cons_tres",
      "SelectTypeParameters=CR_Core",
      "MailProg=/bin/true",
      "ReturnToService=2",
      `NodeName=${host} NodeAddr=127.0.0.1 CPUs=${cpus().length} RealMemory=256 State=UNKNOWN`,
      `PartitionName=all Nodes=${host} Default=YES MaxTime=INFINITE State=UP`,
      "",
    ].join("\n");
  }

  #run(name: string, ...args: string[]): void {
    const env = { ...process.env, SLURM_CONF: this.conf };
    this.#children.push(spawn(find(name) ?? name, args, { env, stdio: "ignore" }));
  }

  async #until(what: string, is: () => Promise<boolean>): Promise<void> {
    for (let tries = 0; !(await is()); tries += 1) {
      if (tries > 600) throw new Error(`${what} did not start`);
      await delay(100);
    }
  }

  async stop(): Promise<void> {
    for (const child of this.#children.toReversed()) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill();
      await ended;
    }
  }
}

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const probe = createServer();
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
