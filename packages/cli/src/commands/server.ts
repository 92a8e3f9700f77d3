import { resolve } from "node:path";
import { instanceOf, type Context } from "../context.ts";
import { catchStrayErrors, leaveSoon, runDaemon, runService } from "../daemon.ts";
import { addUrl, claimDaemon, ensureDir, type Daemon } from "../instance.ts";
import { openLog } from "../logging.ts";
import type { Address } from "../options.ts";
import { version } from "../version.ts";

export interface ServerFlags {
  readonly listen: Address;
  /** Further names by which others reach this machine. */
  readonly hostName: readonly string[];
  /** Folder of the audit log, where that is not --logdir. */
  readonly auditDir?: string;
  readonly journal?: string;
  readonly logdir?: string;
  readonly readyFile?: string;
  /** Seconds. */
  readonly lease?: number;
}

function auditFolder({ auditDir, logdir }: ServerFlags): { readonly auditDir?: string } {
  const folder = auditDir ?? logdir;
  return folder === undefined ? {} : { auditDir: resolve(folder) };
}

/** `rain server`: the server in the foreground. */
export async function run(context: Context, flags: ServerFlags): Promise<number> {
  const { startServer } = await import("@rain/server");
  const instance = await instanceOf(context);
  ensureDir(instance.dir);
  const { log, file } = openLog(flags.logdir, "server");
  catchStrayErrors(log);
  const facts = { role: "server", name: "server", ...(file === undefined ? {} : { log: file }) } as const;
  const claim = (): Daemon => claimDaemon(instance, facts);
  const code = await runDaemon(claim, log, async (place, stopping) => {
    const server = await startServer({
      instanceDir: instance.dir,
      ...(flags.journal === undefined ? {} : { journalDir: resolve(flags.journal) }),
      listen: flags.listen,
      hostNames: flags.hostName,
      ...auditFolder(flags),
      ...(flags.lease === undefined ? {} : { leaseMs: flags.lease * 1_000 }),
      version: version(),
      log,
    });
    addUrl(place, server.url);
    log("info", `ready: instance ${instance.name} in ${instance.dir}, pid ${place.pid}`);
    return runService(server, {
      log,
      stopping,
      ready: () => Promise.resolve({ url: server.url }),
      ...(flags.readyFile === undefined ? {} : { readyFile: flags.readyFile }),
    });
  });
  leaveSoon(code, log);
  return code;
}
