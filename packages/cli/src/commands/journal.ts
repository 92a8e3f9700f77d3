import { statSync } from "node:fs";
import { resolve } from "node:path";
import type { Inspection, Loss, RepairPlan } from "@rain/server/journal-tools";
import { instanceOf, type Context } from "../context.ts";
import { escapeText } from "../escape.ts";
import { exitCodes } from "../exit-codes.ts";
import { CommandError } from "../failure.ts";
import type { Instance } from "../instance.ts";
import { formatBytes, print, table, type Column } from "../output.ts";

export interface JournalFlags {
  readonly journal?: string;
}
const words = { what: "the journal", remedy: 'stop that server first ("rain stop")' };

/** The folder to work on: it must be there. */
async function folderOf(
  context: Context,
  flags: JournalFlags,
): Promise<{ folder: string; instance: Instance }> {
  const instance = await instanceOf(context);
  const folder = flags.journal === undefined ? instance.journalDir : resolve(flags.journal);
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true)
    throw new CommandError(
      exitCodes.failed,
      `there is no journal in ${folder}. Name its folder with --journal, or its instance with --instance`,
      { folder },
    );
  return { folder, instance };
}

const plural = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`;

/** `rain journal check`: reads everything, changes nothing. */
export async function check(context: Context, flags: JournalFlags): Promise<number> {
  const { inspect, NodeJournalStorage } = await import("@rain/server/journal-tools");
  const { refuseLocked } = await import("@rain/protocol/lock");
  const { folder } = await folderOf(context, flags);
  await refuseLocked(folder, words);
  const seen = inspect(new NodeJournalStorage(folder));
  const { clusterId, files, partial, flaws, problem, tornTail, content, state } = seen;
  const json = {
    journal: folder,
    clusterId: clusterId ?? null,
    sound: problem === undefined,
    files,
    partial,
    damage: flaws,
    problem: problem === undefined ? null : { message: problem.message, facts: problem.facts },
    tornTail: tornTail ?? null,
    content,
    state: state ?? null,
  };
  print(context.io, context.globals.output, json, () => describe(context, folder, seen).join("\n"));
  return problem === undefined ? exitCodes.ok : exitCodes.data;
}

const columns: readonly Column[] = [
  { title: "FILE", flexible: true },
  { title: "SIZE", align: "right" },
  { title: "FRAMES", align: "right" },
  { title: "SEQUENCES" },
  { title: "HOLDS" },
  { title: "USE" },
];

function describe(context: Context, folder: string, seen: Inspection): string[] {
  const rows = seen.files.map(({ name, kind, bytes, frames, first, last, holds, covered }) => [
    name,
    formatBytes(bytes),
    String(frames),
    first === null || last === null ? "" : `${first} to ${last}`,
    plural(holds, kind === "snapshot" ? "item" : "record"),
    covered ? "covered by a newer snapshot" : "in force",
  ]);
  const { tornTail, state, problem } = seen;
  return [
    `journal ${escapeText(folder)} of cluster ${escapeText(seen.clusterId ?? "unknown")}`,
    ...(rows.length === 0 ? ["empty: a server begins a new one"] : [table(columns, rows, context.io)]),
    ...seen.partial.map((name) => `left by an interruption, goes at the next start: ${name}`),
    ...seen.flaws.map(
      ({ file, offset, end, why }) => `damaged: ${file} from byte ${offset} to ${end}: ${escapeText(why)}`,
    ),
    ...(tornTail === undefined
      ? []
      : [
          `${tornTail.file} ends at byte ${tornTail.offset} in a write that was cut short: the next start cuts ` +
            `${plural(tornTail.bytes, "byte")} off that were never acknowledged`,
        ]),
    ...(Object.keys(seen.content.byType).length === 0 ? [] : [`records: ${types(seen.content.byType)}`]),
    ...(state === undefined
      ? []
      : [
          `state: ${plural(state.sessions, "session")} (${state.openSessions} with open tasks), ` +
            `${plural(state.tasks, "task")}, ${plural(state.governors, "governor")}; the next frame is ${state.nextSequence}`,
        ]),
    problem === undefined
      ? "sound: a server can start on it"
      : `a server cannot start on it: ${escapeText(problem.message)} "rain journal repair --dry-run" says what can be kept.`,
  ];
}

const types = (byType: Readonly<Record<string, number>>): string =>
  Object.entries(byType)
    .map(([type, count]) => `${count} ${type}`)
    .join(", ");

export interface RepairFlags extends JournalFlags {
  readonly dryRun: boolean;
}

/** `rain journal repair`: keeps a copy, then cuts the journal at its first damage. */
export async function repair(context: Context, flags: RepairFlags): Promise<number> {
  const { planRepair, NodeJournalStorage } = await import("@rain/server/journal-tools");
  const { lockFolder, refuseLocked } = await import("@rain/protocol/lock");
  const { folder, instance } = await folderOf(context, flags);
  if (flags.dryRun) {
    await refuseLocked(folder, words);
    const plan = planRepair(new NodeJournalStorage(folder), await knownClusters(instance));
    return report(context, folder, plan, undefined);
  }
  const unlock = await lockFolder(folder, words);
  const storage = new NodeJournalStorage(folder);
  try {
    const plan = planRepair(storage, await knownClusters(instance));
    if (plan.damage === undefined) return report(context, folder, plan, undefined);
    const { applyRepair, keepCopy } = await import("@rain/server/journal-tools");
    const copy = await keepCopy(folder, new Date());
    await new Promise<void>((done, fail) =>
      applyRepair(storage, plan, (error) => (error === undefined ? done() : fail(error))),
    );
    return report(context, folder, plan, copy);
  } finally {
    storage.close();
    await unlock();
  }
}

/** The id in the instance's access file helps where the journal's own headers are broken. */
async function knownClusters(instance: Instance): Promise<string[]> {
  const { loadAccess } = await import("@rain/protocol/access");
  try {
    return [(await loadAccess(instance.accessFile)).clusterId];
  } catch {
    return []; // there is none, or it is not good: the headers alone have to do
  }
}

function report(context: Context, folder: string, plan: RepairPlan, copy: string | undefined): number {
  const { damage, cut, remove, write, mended, lost, lastKept } = plan;
  const isNeeded = damage !== undefined;
  const json = {
    journal: folder,
    damage: isNeeded ? { message: damage.message, facts: damage.facts } : null,
    repaired: copy !== undefined,
    copy: copy ?? null,
    keptTo: lastKept ?? null,
    cut: [...cut].map(([file, size]) => ({ file, size })),
    remove,
    write: [...write.keys()],
    mended,
    lost: isNeeded ? { ...lost, sequences: lost.sequences ?? null } : null,
  };
  print(context.io, context.globals.output, json, () => {
    if (!isNeeded) return "nothing to repair: a server can start on it";
    const did = copy === undefined ? "would" : "did";
    return [
      escapeText(damage.message),
      ...[...cut].map(([file, size]) => `${did} cut: ${file} to ${plural(size, "byte")}`),
      ...remove.map((file) => `${did} remove: ${file}`),
      ...[...write.keys()].map((file) => `${did} write: ${file}`),
      ...mended.map(
        ({ file, offset, sequence }) => `mended: one bit of frame ${sequence}, ${file} byte ${offset}`,
      ),
      `kept: everything up to frame ${lastKept}`,
      `lost: ${lossText(lost)}`,
      copy === undefined
        ? "nothing was changed (--dry-run)"
        : `repaired; the damaged files are in ${escapeText(copy)}`,
    ].join("\n");
  });
  return exitCodes.ok;
}

function lossText({ sequences, frames, damagedFrames, unreadableBytes, content }: Loss): string {
  if (sequences === undefined) return "nothing";
  const [first, last] = sequences;
  const sound =
    frames === 0
      ? ""
      : `; ${plural(frames, "sound frame")} with ${plural(content.records, "record")} (${types(content.byType)}) of ` +
        `sessions ${content.sessions.join(", ")}`;
  const broken =
    damagedFrames === 0
      ? ""
      : `; ${plural(damagedFrames, "damaged frame")}${unreadableBytes === 0 ? "" : `, ${plural(unreadableBytes, "byte")}`}`;
  return `frames ${first} to ${last}${sound}${broken}`;
}

export interface ExportFlags extends JournalFlags {
  readonly state: boolean;
}

/** `rain journal export`: one JSON document a line. */
export async function exportLines(context: Context, flags: ExportFlags): Promise<number> {
  const tools = await import("@rain/server/journal-tools");
  const { refuseLocked } = await import("@rain/protocol/lock");
  const { folder } = await folderOf(context, flags);
  await refuseLocked(folder, words);
  const storage = new tools.NodeJournalStorage(folder);
  const clusterId = tools.clusterOf(storage) ?? "";
  const lines = flags.state ? tools.exportState(storage, clusterId) : tools.exportRecords(storage, clusterId);
  for (const line of lines) {
    context.io.stdout(`${escapeText(JSON.stringify(line))}\n`);
    await context.io.drained();
  }
  return exitCodes.ok;
}
