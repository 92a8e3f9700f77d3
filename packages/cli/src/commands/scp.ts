import { existsSync, readFileSync } from "node:fs";
import { parseHostFile } from "../cluster/hosts.ts";
import { listRemotes } from "../cluster/remote.ts";
import { optionArgs, run as runProgram, type Target } from "../cluster/ssh.ts";
import { instanceOf, type Context } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import { CommandError, usageError } from "../failure.ts";
import { print } from "../output.ts";

export interface ScpFlags {
  /** Default: the hosts on which `rain start` started governors. */
  readonly governorHostFile?: string;
  readonly sshOption: readonly string[];
}

interface Copied {
  readonly host: string;
  readonly problem?: string;
}

/** `rain scp FILE PATH`: copies a file or folder to the same place on every host. */
export async function run(context: Context, source: string, path: string, flags: ScpFlags): Promise<number> {
  if (!existsSync(source)) throw usageError(`there is no ${source}`);
  const targets = await targetsOf(context, flags);
  const hosts = await Promise.all(targets.map((target) => copy(target, source, path)));
  print(context.io, context.globals.output, { path, hosts }, () =>
    hosts.map(({ host, problem }) => `${host}: ${problem ?? `copied to ${path}`}`).join("\n"),
  );
  const failed = hosts.filter(({ problem }) => problem !== undefined);
  if (failed.length === 0) return exitCodes.ok;
  throw new CommandError(
    exitCodes.failed,
    `${source} was not copied to ${failed.length} of ${hosts.length} hosts: ${failed.map(({ host }) => host).join(", ")}`,
  );
}

/** Each machine once, however many governors it has. */
async function targetsOf(context: Context, flags: ScpFlags): Promise<readonly Target[]> {
  const { governorHostFile: file, sshOption } = flags;
  const found =
    file === undefined
      ? listRemotes(await instanceOf(context)).map((one) => ({
          ...one,
          options: [...sshOption, ...one.sshOptions],
        }))
      : parseHostFile(readFileSync(file, "utf8"), file).map((one) => ({ ...one, options: sshOption }));
  if (found.length === 0)
    throw usageError(
      "this instance has no governors on other machines: name the hosts with --governor-host-file FILE",
    );
  const targets = new Map<string, Target>();
  for (const { address, port, options } of found)
    targets.set(`${address}:${port ?? ""}`, { address, options, ...(port === undefined ? {} : { port }) });
  return [...targets.values()];
}

async function copy(target: Target, source: string, path: string): Promise<Copied> {
  const { address: host, port } = target;
  const at = host.indexOf("@") + 1;
  // An IPv6 address has colons of its own.
  const machine = host.includes(":") ? `${host.slice(0, at)}[${host.slice(at)}]` : host;
  const where = port === undefined ? [] : ["-P", String(port)];
  // A name with a colon would be taken for a host.
  const from = source.startsWith("/") ? source : `./${source}`;
  const answer = await runProgram("scp", [
    "-r",
    "-q",
    ...optionArgs(target),
    ...where,
    "--",
    from,
    `${machine}:${path}`,
  ]);
  return answer.code === 0
    ? { host }
    : { host, problem: answer.err.trim() || `scp ended with code ${answer.code}` };
}
