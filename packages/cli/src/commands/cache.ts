import { limits, type CacheEntry } from "@rain/protocol";
import { withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import { formatBytes, print, table, type Column } from "../output.ts";

const columns: readonly Column[] = [
  { title: "TASK", align: "right" },
  { title: "NAME", flexible: true },
  { title: "SIZE", align: "right" },
  { title: "HITS", align: "right" },
];

const entryJson = ({ session, task, name, size, hits }: CacheEntry): object => ({
  task: `${session}/${task}`,
  name: name ?? null,
  size,
  hits,
});

/** `rain cache list`: finished tasks whose results can be taken over, the newest first. */
export async function list(context: Context, flags: { readonly number: number }): Promise<number> {
  const { entries, count, bytes } = await withClient(context, (client) =>
    client.request("cache.list", { max: Math.min(flags.number, limits.nextItems) }),
  );
  print(context.io, context.globals.output, { count, bytes, entries: entries.map(entryJson) }, () => {
    if (count === 0) return "the cache is empty";
    const rows = entries.map(({ session, task, name, size, hits }) => [
      `${session}/${task}`,
      name ?? "",
      formatBytes(size),
      String(hits),
    ]);
    const shown = entries.length < count ? `, the ${entries.length} newest here` : "";
    return [
      table(columns, rows, context.io),
      "",
      `${count} result${count === 1 ? "" : "s"}, ${formatBytes(bytes)}${shown}`,
    ].join("\n");
  });
  return exitCodes.ok;
}

/** `rain cache clear`: forgets all of them; tasks that are finished stay as they are. */
export async function clear(context: Context): Promise<number> {
  const { removed } = await withClient(context, (client) => client.request("cache.clear", {}));
  print(
    context.io,
    context.globals.output,
    { removed },
    () => `forgot ${removed} result${removed === 1 ? "" : "s"}`,
  );
  return exitCodes.ok;
}
