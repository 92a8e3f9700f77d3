import { existsSync, readdirSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Session } from "@rain/client";
import { withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import { CommandError } from "../failure.ts";
import type { RunRef } from "../options.ts";
import { print, type Io } from "../output.ts";
import { readRun, rowOfExperiment } from "../runs/open.ts";
import { Progress } from "../runs/progress.ts";
import type { Row } from "../runs/rows.ts";

export interface ArtifactsFlags {
  readonly experiment?: number;
  /** Replace the folders of trials that are there. */
  readonly force: boolean;
}

interface Written {
  readonly experiment: number;
  readonly path: string;
}

/** Trials fetched at once. */
const atOnce = 4;

/** `rain artifacts RUN`: what each trial made, as a folder of its own: DIR/RUN-expN. */
export async function run(
  context: Context,
  ref: RunRef,
  dir: string | undefined,
  flags: ArtifactsFlags,
): Promise<number> {
  const { io, globals } = context;
  const { written, skipped } = await withClient(context, async (client) => {
    const found = await readRun(client, ref);
    const { view, manifest } = found;
    const wanted = flags.experiment === undefined ? found.rows : [rowOfExperiment(found, flags.experiment)];
    const rows = wanted.filter(hasFiles);
    if (rows.length === 0)
      throw new CommandError(
        exitCodes.failed,
        flags.experiment === undefined
          ? `no trial of ${manifest.name} has finished: there are no files yet`
          : `experiment ${flags.experiment} of ${manifest.name} is ${wanted[0]?.state ?? "unknown"}: it has no files`,
      );
    const target = resolve(dir ?? manifest.name);
    const places = rows.map((row) => ({
      row,
      path: join(target, `${manifest.name}-exp${row.experiment}`),
    }));
    if (!flags.force) refuseFull(places.map(({ path }) => path));
    await mkdir(target, { recursive: true });
    const session = await client.attach(view.session);
    await fetchAll(session, places, io);
    const written = places.map(({ row, path }): Written => ({ experiment: row.experiment, path }));
    return { written, skipped: wanted.length - rows.length };
  });
  print(io, globals.output, { written, skipped }, () => {
    const rest = skipped === 0 ? [] : [`${skipped} not finished: no files`];
    return [...written.map(({ path }) => path), ...rest].join("\n");
  });
  return exitCodes.ok;
}

const hasFiles = ({ outputs }: Row): boolean => outputs.some(({ state }) => state === "finished");

function refuseFull(paths: readonly string[]): void {
  const full = paths.filter((path) => existsSync(path) && readdirSync(path).length > 0);
  const [first] = full;
  if (first === undefined) return;
  const more = full.length > 1 ? ` (and ${full.length - 1} more)` : "";
  throw new CommandError(
    exitCodes.failed,
    `${first}${more} is there already: --force replaces it, or name another folder`,
    { path: first },
  );
}

async function fetchAll(
  session: Session,
  places: readonly { readonly row: Row; readonly path: string }[],
  io: Io,
): Promise<void> {
  const progress = new Progress(io);
  const left = places.values();
  let done = 0;
  const fetchNext = async (): Promise<void> => {
    for (const { row, path } of left) {
      await fetchTrial(session, row, path);
      done += 1;
      progress.show(`${done} of ${places.length} experiments`);
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(atOnce, places.length) }, fetchNext));
  } finally {
    progress.done();
  }
}

async function fetchTrial(session: Session, row: Row, path: string): Promise<void> {
  await rm(path, { recursive: true, force: true });
  const task = session.task(row.task);
  const labels = row.outputs.filter(({ state }) => state === "finished").map(({ label }) => label);
  if (labels.includes("artifacts")) {
    const files = await task.outputs.get("artifacts").fetch();
    await files.write(path);
    await files.close();
  } else await mkdir(path, { recursive: true });
  if (!labels.includes("stdout")) return;
  const stdout = await task.outputs.get("stdout").fetch();
  // A file of that name that the program made is its own.
  const name = existsSync(join(path, "stdout.txt")) ? "stdout.rain.txt" : "stdout.txt";
  await writeFile(join(path, name), stdout.stream(), { flag: "wx" });
  await stdout.close();
}
