import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isLoopbackHost, RainError } from "@rain/protocol";
import {
  loadAccess,
  rotateKeys,
  splitAccess,
  writeAccess,
  type Access,
  type Role,
} from "@rain/protocol/access";
import { connectLink } from "@rain/protocol/link";
import { pinOf } from "@rain/protocol/tls";
import { z } from "zod";
import { instanceOf, requireAccessFile, type Context } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import { CommandError, usageError } from "../failure.ts";
import { runningServer } from "../instance.ts";
import { print } from "../output.ts";

export interface SplitFlags {
  readonly client?: string;
  readonly governor?: string;
  readonly viewer?: string;
}

/** `rain access split`: access files that hold the key of one role each. */
export async function split(context: Context, flags: SplitFlags): Promise<number> {
  const wanted = (["client", "governor", "viewer"] as const).flatMap((role) => {
    const path = flags[role];
    return path === undefined ? [] : [{ role, path: resolve(path) }];
  });
  if (wanted.length === 0)
    throw usageError("say which files to make: --client FILE, --governor FILE, --viewer FILE");
  const access = await loadAccess(requireAccessFile(context, await instanceOf(context)));
  const parts = wanted.map(({ role, path }) => ({ role, path, part: splitAccess(access, [role]) }));
  for (const { path, part } of parts) await writeAccess(path, part);
  print(context.io, context.globals.output, { files: wanted }, () =>
    [
      ...wanted.map(({ role, path }) => `${path} has the ${role} key only`),
      ...(isLoopbackHost(new URL(access.url).hostname)
        ? [
            `The server listens on ${access.url}: from other machines it is reached when started with --listen HOST`,
          ]
        : []),
    ].join("\n"),
  );
  return exitCodes.ok;
}

/** `rain access rotate`: new keys for roles. A running server takes them at once. */
export async function rotate(context: Context, wanted: readonly Role[]): Promise<number> {
  if (context.globals.accessFile !== undefined)
    throw usageError(
      "--access-file names a copy: keys are changed where the server runs, in the folder of its instance (--instance NAME)",
    );
  const instance = await instanceOf(context);
  const rotated = [...new Set(wanted)];
  const access = await rotateKeys(instance.accessFile, rotated);
  const isRunning = runningServer(instance)?.url !== undefined;
  if (isRunning) await taken(access, rotated[0] ?? "client", instance.accessFile);
  const json = { accessFile: instance.accessFile, rotated, server: isRunning ? "running" : "stopped" };
  print(context.io, context.globals.output, json, () =>
    [
      `${instance.accessFile} has new keys for: ${rotated.join(", ")}`,
      isRunning
        ? "The running server uses them, and has closed the connections with the old ones."
        : "The server does not run: it uses them from its next start.",
      "Copies of the file (rain access split) are to be made again.",
    ].join("\n"),
  );
  return exitCodes.ok;
}

/** The server looks at the file twice a second. */
const TAKEN_MS = 15_000;
const AGAIN_MS = 300;

/** Waits until the server accepts the new key. */
async function taken(access: Access, role: Role, accessFile: string): Promise<void> {
  const { url, certPem, clusterId } = access;
  const key = access.keys[role] ?? "";
  const deadline = performance.now() + TAKEN_MS;
  for (;;) {
    await sleep(AGAIN_MS);
    try {
      const pin = pinOf(certPem, accessFile);
      const link = await connectLink<unknown, object>({
        url,
        pin,
        role,
        key,
        clusterId,
        schema: z.unknown(),
      });
      link.close();
      return;
    } catch (error) {
      if (!(error instanceof RainError)) throw error;
      if (performance.now() > deadline)
        throw new CommandError(
          exitCodes.failed,
          `the new keys are in ${accessFile}, but the running server does not take them (${error.message}): ` +
            "restart it",
          { accessFile },
          { cause: error },
        );
    }
  }
}
