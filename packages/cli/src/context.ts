import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { exitCodes } from "./exit-codes.ts";
import { CommandError } from "./failure.ts";
import { openInstance, type Instance } from "./instance.ts";
import type { Io, OutputFormat } from "./output.ts";

/** Options that every command has. */
export interface Globals {
  readonly instance?: string;
  readonly accessFile?: string;
  readonly output: OutputFormat;
}

/** What a command is given beside its own arguments. */
export interface Context {
  readonly io: Io;
  readonly globals: Globals;
  readonly env: NodeJS.ProcessEnv;
}

export const instanceOf = (context: Context): Promise<Instance> => openInstance(context.globals.instance);

/** The access file to use: --access-file, else RAIN_ACCESS_FILE, else that of the instance. */
function accessFileOf(context: Context, instance: Instance): string {
  const named = context.globals.accessFile ?? context.env["RAIN_ACCESS_FILE"];
  // An instance named on the command line is meant, whatever the environment says.
  if (context.globals.accessFile === undefined && context.globals.instance !== undefined)
    return instance.accessFile;
  return named === undefined || named === "" ? instance.accessFile : resolve(named);
}

/** The access file, when there is one; exit code 69 and what to do when there is none. */
export function requireAccessFile(context: Context, instance: Instance): string {
  const path = accessFileOf(context, instance);
  if (!existsSync(path))
    throw new CommandError(
      exitCodes.unavailable,
      `no server is known: there is no ${path}. Start one with "rain start --simple", or name the access file of a ` +
        "running one with --access-file",
      { accessFile: path },
    );
  return path;
}
