import type { HistoryItem } from "@rain/protocol";
import { z } from "zod";
import { withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import { print, table, type Column } from "../output.ts";
import { countsText, runState, total } from "../runs/view.ts";

export interface HistoryFlags {
  /** The most items. */
  readonly number: number;
}

/** Long attributes are left out of the history, and a manifest may be long: what is there is read. */
const short = z.object({
  run: z.object({ kind: z.string().optional(), description: z.string().optional() }),
});

const itemJson = (item: HistoryItem): object => ({
  session: item.session,
  name: item.name,
  kind: short.safeParse(item.user).data?.run.kind ?? null,
  description: short.safeParse(item.user).data?.run.description ?? null,
  created: item.created === undefined ? null : new Date(item.created).toISOString(),
  state: runState(item.counts),
  trials: total(item.counts),
  counts: item.counts,
});

const columns: readonly Column[] = [
  { title: "CREATED" },
  { title: "SESSION", align: "right" },
  { title: "NAME", flexible: true },
  { title: "TASKS", flexible: true },
];

/** `rain history`: sessions that were closed or deleted, runs among them, the last first. */
export async function run(context: Context, flags: HistoryFlags): Promise<number> {
  const { items } = await withClient(context, (client) => client.request("history", { max: flags.number }));
  print(context.io, context.globals.output, { items: items.map(itemJson) }, () =>
    items.length === 0
      ? "nothing was closed yet"
      : table(
          columns,
          items.map(({ created, session, name, counts }) => [
            created === undefined ? "-" : localTime(created),
            String(session),
            name,
            countsText(counts).replace("trials", "tasks"),
          ]),
          context.io,
        ),
  );
  return exitCodes.ok;
}

/** `2026-03-01 14:05`, by this machine's clock. */
function localTime(ms: number): string {
  const at = new Date(ms - new Date(ms).getTimezoneOffset() * 60_000);
  return at.toISOString().slice(0, 16).replace("T", " ");
}
