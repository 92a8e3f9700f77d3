import { writeFile } from "node:fs/promises";
import { withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { exitCodes } from "../exit-codes.ts";
import type { RunRef } from "../options.ts";
import { print } from "../output.ts";
import { numberJson, type NumberJson } from "../runs/export.ts";
import { heatmapSvg } from "../runs/heatmap-svg.ts";
import { heatmapText, placesAcross } from "../runs/heatmap-text.ts";
import { makeHeatmap, mapNotes, type Heatmap, type MapAxis } from "../runs/heatmap.ts";
import { readRun } from "../runs/open.ts";
import { checkJudge } from "./best.ts";

export interface HeatmapFlags {
  readonly x?: string;
  readonly y?: string;
  readonly metric?: string;
  readonly svg?: string;
}

/** Most places of an axis of a picture, and down a terminal. */
const places = 40;

/** `rain heatmap RUN`: the metric over one or two parameters. */
export async function run(context: Context, ref: RunRef, flags: HeatmapFlags): Promise<number> {
  const { io, globals } = context;
  const found = await withClient(context, (client) => readRun(client, ref));
  const judge = checkJudge(found, flags.metric);
  const isForTerminal = flags.svg === undefined && globals.output === "plain";
  const map = makeHeatmap(found.manifest, found.rows, judge, {
    ...flags,
    places: { x: isForTerminal ? placesAcross(io) : places, y: places },
  });
  if (flags.svg !== undefined) await writeFile(flags.svg, heatmapSvg(map));
  const file = flags.svg ?? null;
  print(io, globals.output, heatmapJson(map, file), () =>
    flags.svg === undefined ? heatmapText(map, io) : [`${flags.svg} is written`, ...mapNotes(map)].join("\n"),
  );
  return exitCodes.ok;
}

const axisJson = ({ name, labels, isBinned }: MapAxis): object => ({ name, labels, ranges: isBinned });

function heatmapJson(map: Heatmap, svg: string | null): object {
  return {
    run: map.run,
    metric: map.judge.name,
    goal: map.judge.goal,
    x: axisJson(map.x),
    y: map.y === undefined ? null : axisJson(map.y),
    values: map.cells.map((line) =>
      line.map((value): NumberJson | null => (value === undefined ? null : numberJson(value))),
    ),
    best: map.best ?? null,
    meanOver: map.meanOver,
    svg,
  };
}
