import { join } from "node:path";
import { environmentLabel, isLoopbackHost, RainError } from "@rain/protocol";
import { AuditLog } from "@rain/protocol/audit";
import { lockFolder, secureFolder } from "@rain/protocol/lock";
import { machineNames, openCertificate, publicHost } from "@rain/protocol/tls";
import type { OwnExecutor } from "./executor/index.ts";
import { readIdentity } from "./identity.ts";
import type { Governor, GovernorOptions } from "./options.ts";
import { Shell } from "./shell.ts";
import { BlobStore, Trees } from "./store/index.ts";

/**
 * Starts a governor: prepares its work folder, listens, and connects to the server, again and again until it is there.
 * Throws RainError: "not-allowed" (work folder in use, or not safe), "bad-file" (damaged identity), "bad-request".
 */
export async function startGovernor(options: GovernorOptions): Promise<Governor> {
  const listenHost = options.listenHost ?? "127.0.0.1";
  if (!Number.isInteger(options.capacity.gpus)) {
    throw new RainError("bad-request", `a capacity of ${options.capacity.gpus} gpus: GPUs are whole`);
  }
  for (const [name, executor] of Object.entries(options.executors ?? {})) checkExecutor(name, executor);
  const { workdir } = options;
  await secureFolder(workdir, "the work folder");
  const unlock = await lockFolder(workdir, {
    what: "the work folder",
    remedy: "stop that governor, or give this one another work folder",
  });
  const undo: (() => Promise<void>)[] = [unlock];
  try {
    const identity = await readIdentity(workdir);
    const trees = await Trees.open(workdir, (error) =>
      options.log("warn", `removing an unpacked directory: ${String(error)}`),
    );
    const store = await BlobStore.open(workdir, {
      cache: { bytes: options.cacheBytes },
      besides: (sha256) => trees.bytesOf(sha256),
      onGone: (sha256) => trees.drop(sha256),
    });
    const host = await publicHost(listenHost);
    const certificate = isLoopbackHost(listenHost)
      ? undefined
      : await openCertificate(join(workdir, "tls.pem"), [host], machineNames());
    const audit = new AuditLog(join(workdir, "logs"), (error) =>
      options.log("error", `the audit log cannot be written: ${String(error)}`),
    );
    const parts = new Shell(options, { identity, certificate, host, audit }, store, trees, unlock);
    undo.push(() => parts.dispose());
    await parts.start(listenHost);
    return parts;
  } catch (error) {
    for (const step of undo.toReversed()) await step();
    throw error;
  }
}

function checkExecutor(name: string, { command, concurrency = 1, idleS = 0 }: OwnExecutor): void {
  const bad = (what: string): RainError =>
    new RainError("bad-request", `executor ${JSON.stringify(name.slice(0, 200))}: ${what}`);
  if (!environmentLabel.safeParse(name).success)
    throw bad("a name has letters, digits, '_', '.', '-', 64 at most");
  if (command[0] === undefined || command[0] === "") throw bad("its command is empty");
  if (!Number.isInteger(concurrency) || concurrency < 1)
    throw bad(`a concurrency of ${concurrency}: it must be a whole number from 1`);
  if (!(idleS >= 0 && idleS <= MAX_IDLE_S))
    throw bad(`idleS ${idleS}: it must be seconds from 0 to ${MAX_IDLE_S}`);
}
const MAX_IDLE_S = 1_000_000;
