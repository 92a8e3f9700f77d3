import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { RainError, type DatastoreVersion } from "@rain/protocol";
import { nearMisses, oneOf } from "@rain/sweep";
import { withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import { CommandError, usageError } from "../failure.ts";
import { formatBytes, print, table, type Column } from "../output.ts";
import { formatAge } from "../runs/view.ts";

export interface CreateFlags {
  readonly source: string;
  readonly name: string;
}

const versionJson = (one: DatastoreVersion): object => ({
  name: one.name,
  version: one.version,
  kind: one.kind,
  size: one.size,
  sha256: one.sha256,
  source: one.source ?? null,
  created: one.created === undefined ? null : new Date(one.created).toISOString(),
});

/** `rain datastore create`: uploads a file or folder as the next version of a datastore. */
export async function create(context: Context, { source, name }: CreateFlags): Promise<number> {
  const path = resolve(source);
  if (!existsSync(path)) throw usageError(`--source: there is no ${path}`);
  const made = await withClient(context, (client) => client.createDatastore(name, path));
  print(
    context.io,
    context.globals.output,
    versionJson(made),
    () => `${name} version ${made.version}: ${made.kind} of ${formatBytes(made.size)} from ${path}`,
  );
  return exitCodes.ok;
}

const columns: readonly Column[] = [
  { title: "DATASTORE", flexible: true },
  { title: "VERSION", align: "right" },
  { title: "KIND" },
  { title: "SIZE", align: "right" },
  { title: "AGE", align: "right" },
  { title: "SOURCE", flexible: true },
];

/** `rain datastore list`: every version of every datastore. */
export async function list(context: Context): Promise<number> {
  const found = await withClient(context, (client) => client.datastores());
  print(context.io, context.globals.output, { datastores: found.map(versionJson) }, () =>
    found.length === 0
      ? "no datastores"
      : table(
          columns,
          found.map(({ name, version, kind, size, created, source }) => [
            name,
            String(version),
            kind,
            formatBytes(size),
            created === undefined ? "-" : formatAge(created, Date.now()),
            source ?? "",
          ]),
          context.io,
        ),
  );
  return exitCodes.ok;
}

/** `rain datastore delete`: forgets a version, or all of them. Runs that use it keep their bytes. */
export async function remove(
  context: Context,
  name: string,
  { version }: { readonly version?: number },
): Promise<number> {
  const removed = await withClient(context, async (client) => {
    try {
      return await client.deleteDatastore(name, version);
    } catch (error) {
      if (!(error instanceof RainError) || error.code !== "unknown-datastore") throw error;
      throw unknown(error, name, await client.datastores());
    }
  });
  print(context.io, context.globals.output, { name, version: version ?? null, removed }, () =>
    version === undefined
      ? `forgot ${name}: ${removed} version${removed === 1 ? "" : "s"}`
      : `forgot version ${version} of ${name}`,
  );
  return exitCodes.ok;
}

function unknown(error: RainError, name: string, all: readonly DatastoreVersion[]): CommandError {
  const names = [...new Set(all.map((one) => one.name))];
  const near = names.includes(name) ? [] : nearMisses(name, names);
  const hint = near.length > 0 ? `: did you mean ${oneOf(near)}?` : '; "rain datastore list" shows all';
  return new CommandError(exitCodes.failed, `${error.message}${hint}`);
}
