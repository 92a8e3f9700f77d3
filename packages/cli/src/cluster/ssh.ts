import { existsSync, readFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { execa } from "execa";
import { exitCodes } from "../exit-codes.ts";
import { CommandError } from "../failure.ts";

/** The system's ssh: one connection a host, which stays in the background and carries tunnels and commands. */

/** How to reach a host. */
export interface Target {
  readonly address: string;
  readonly port?: number;
  /** What the user gave for `ssh -o`. */
  readonly options: readonly string[];
}

export interface Answer {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** ssh takes the first value of an option that it sees, so the user's own win. Nobody is there to type a password. */
const commonOptions = [
  "BatchMode=yes",
  "ConnectTimeout=20",
  "ServerAliveInterval=15",
  "ServerAliveCountMax=4",
];

export const optionArgs = ({ options }: Pick<Target, "options">): string[] =>
  [...options, ...commonOptions].flatMap((option) => ["-o", option]);
const portArgs = ({ port }: Target): string[] => (port === undefined ? [] : ["-p", String(port)]);

interface RunOptions {
  /** For its stdin; default: nothing. */
  readonly input?: string;
  /** Ends it; its reason is thrown. */
  readonly signal?: AbortSignal;
}

/** Runs ssh or scp to its end. Throws (exit code 1) when it is not installed. */
export async function run(
  program: "ssh" | "scp",
  args: readonly string[],
  { input = "", signal }: RunOptions = {},
): Promise<Answer> {
  const cancel = signal === undefined ? {} : { cancelSignal: signal };
  const running = execa(program, args, { input, reject: false, ...cancel });
  const { exitCode, stdout, stderr, code } = await unlessAborted(running, signal);
  if (code === "ENOENT")
    throw new CommandError(
      exitCodes.failed,
      `there is no ${program} on this machine: install an OpenSSH client`,
    );
  return { code: exitCode ?? -1, out: stdout, err: stderr };
}

/**
 * A command over an open connection is run by the process that holds it, which has our pipes then: they do not end
 * with the ssh that is killed here, so nobody waits for them.
 */
async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  let stop: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason as Error);
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    signal.throwIfAborted();
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/**
 * Opens the connection to a host, with a tunnel from `local` (a port of this machine's loopback) to `remote` there. The
 * process goes on in the background; `control` is the socket by which it is found. Throws (exit code 1).
 */
export async function openConnection(
  target: Target,
  control: string,
  log: string,
  tunnel: { readonly local: number; readonly remote: number },
  signal: AbortSignal,
): Promise<void> {
  const before = existsSync(log) ? readFileSync(log, "utf8").length : 0;
  const forward = `127.0.0.1:${tunnel.local}:127.0.0.1:${tunnel.remote}`;
  const args = ["-f", "-N", "-T", "-M", "-S", control, "-E", log, "-L", forward];
  const own = ["-o", "ExitOnForwardFailure=yes", "-o", "ControlPersist=no"];
  // -f keeps stdout and stderr open: as pipes they would hold this process for as long as the connection lives.
  const { exitCode, code } = await execa(
    "ssh",
    [...args, ...own, ...optionArgs(target), ...portArgs(target), "--", target.address],
    {
      stdio: "ignore",
      reject: false,
      cancelSignal: signal,
    },
  );
  if (code === "ENOENT")
    throw new CommandError(exitCodes.failed, "there is no ssh on this machine: install an OpenSSH client");
  signal.throwIfAborted();
  if (exitCode === 0) return;
  const said = existsSync(log) ? readFileSync(log, "utf8").slice(before).trim() : "";
  throw new CommandError(
    exitCodes.failed,
    `ssh ${target.address} failed (code ${exitCode}): ${said === "" ? "it said nothing" : said}\n` +
      `It must work without a password or question: try ssh ${target.address} true`,
    { host: target.address },
  );
}

/** Adds a tunnel from a free port of the host's loopback to `to` (host:port as seen from here); that port. */
export async function forwardBack(target: Target, control: string, to: string): Promise<number> {
  const answer = await run("ssh", [
    "-S",
    control,
    "-O",
    "forward",
    "-R",
    `127.0.0.1:0:${to}`,
    "--",
    target.address,
  ]);
  const port = Number(/\b(\d{1,5})\s*$/.exec(answer.out.trim())?.[1]);
  if (answer.code === 0 && port > 0) return port;
  throw new CommandError(
    exitCodes.failed,
    `${target.address}: no tunnel from there to the server: ${answer.err.trim() || answer.out.trim()}. ` +
      "Its sshd must allow it (AllowTcpForwarding)",
    { host: target.address },
  );
}

/** Runs a line of POSIX shell there, over the open connection when there is one. */
export async function remoteShell(
  target: Target,
  control: string | undefined,
  line: string,
  options: RunOptions = {},
): Promise<Answer> {
  const via = control !== undefined && (await isOpen(target, control)) ? ["-S", control] : ["-S", "none"];
  const args = [
    ...via,
    "-T",
    ...optionArgs(target),
    ...portArgs(target),
    "--",
    target.address,
    `sh -c ${quote(line)}`,
  ];
  return run("ssh", args, options);
}

async function isOpen(target: Target, control: string): Promise<boolean> {
  if (!existsSync(control)) return false;
  return (await run("ssh", ["-S", control, "-O", "check", "--", target.address])).code === 0;
}

/** Ends the connection and its tunnels. */
export async function closeConnection(target: Target, control: string): Promise<void> {
  if (existsSync(control)) await run("ssh", ["-S", control, "-O", "exit", "--", target.address]);
}

/** A word of POSIX shell that stands for exactly this text. */
export const quote = (text: string): string =>
  /^[A-Za-z0-9_./:=@%+,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;

/** A port of this machine's loopback that nothing listened at a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as AddressInfo;
      probe.close(() => resolve(port));
    });
  });
}
