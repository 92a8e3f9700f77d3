import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect, createServer, type AddressInfo } from "node:net";
import { userInfo } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

/** A real sshd on a high port of loopback, with keys and a configuration of its own. */

const programs = ["ssh", "scp", "ssh-keygen"].map((name) => [name, find(name)] as const);
const sshdPath = find("sshd");

/** Why there can be no sshd here; undefined when there can. */
export const noSshd: string | undefined = reason();

function reason(): string | undefined {
  const missing = [...programs, ["sshd", sshdPath] as const].filter(([, path]) => path === undefined);
  return missing.length === 0 ? undefined : `${missing.map(([name]) => name).join(", ")} not installed`;
}

function find(name: string): string | undefined {
  const folders = [...(process.env["PATH"] ?? "").split(":"), "/usr/sbin", "/usr/local/sbin"];
  return folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
}

export class Sshd {
  readonly #child: ChildProcess;
  readonly port: number;
  readonly #dir: string;
  private constructor(child: ChildProcess, port: number, dir: string) {
    this.#child = child;
    this.port = port;
    this.#dir = dir;
  }

  static async start(dir: string): Promise<Sshd> {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const port = await freePort();
    for (const name of ["host", "user"])
      execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", join(dir, name)]);
    const hostKey = readFileSync(join(dir, "host.pub"), "utf8").trim();
    writeFileSync(join(dir, "known"), `[127.0.0.1]:${port} ${hostKey}\n`);
    const config = [
      `Port ${port}`,
      "ListenAddress 127.0.0.1",
      `HostKey ${join(dir, "host")}`,
      `AuthorizedKeysFile ${join(dir, "user.pub")}`,
      "PidFile none",
      "StrictModes no",
      "UsePAM no",
      "PasswordAuthentication no",
      "KbdInteractiveAuthentication no",
      "PermitRootLogin prohibit-password",
      "Subsystem sftp internal-sftp",
    ];
    writeFileSync(join(dir, "config"), `${config.join("\n")}\n`);
    // Where a root sshd confines its unprivileged part; packages make it when their service starts.
    if (process.getuid?.() === 0) mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });
    const child = spawn(sshdPath ?? "", ["-D", "-e", "-f", join(dir, "config")], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    const sshd = new Sshd(child, port, dir);
    let said = "";
    child.stderr?.setEncoding("utf8").on("data", (part: string) => (said += part));
    while (!(await answers(port))) {
      if (child.exitCode !== null) throw new Error(`sshd ended with code ${child.exitCode}: ${said}`);
      await delay(20);
    }
    return sshd;
  }

  get address(): string {
    return `${userInfo().username}@127.0.0.1`;
  }
  /** Options for `ssh -o` by which a client reaches it, and asks nobody. */
  get options(): readonly string[] {
    const files = [
      `IdentityFile=${join(this.#dir, "user")}`,
      `UserKnownHostsFile=${join(this.#dir, "known")}`,
    ];
    return [`Port=${this.port}`, "IdentitiesOnly=yes", "StrictHostKeyChecking=yes", ...files];
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill();
    await ended;
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

const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
