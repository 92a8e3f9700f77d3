import type { Trial } from "@rain/sweep";
import { usageError } from "../failure.ts";
import { longFlag, submitSettings, type RunSettings } from "./flags.ts";
import { shellLine, type Submission } from "./plan.ts";
import { writeSetting } from "./settings.ts";

/** A run of `rain submit`: one command, so many times, each with a number of its own. */
export interface Completions {
  /** The words before the command's own arguments. */
  readonly program: readonly string[];
  readonly words: readonly string[];
  readonly settings: RunSettings;
  readonly seed: number;
  readonly count: number;
  /** Variables of every completion. */
  readonly env: Readonly<Record<string, string>>;
}

export function completionsOf(plan: Completions): Submission {
  const { program, words, settings, seed, count } = plan;
  const { description, parallelism, metric } = settings;
  const most = parallelism === undefined ? [] : [`at most ${parallelism} at once`];
  return {
    program,
    settings,
    seed,
    trials: completions(plan),
    manifest: (more) => ({
      v: 1,
      kind: "completions",
      ...more,
      ...(description !== undefined && { description }),
      program,
      words,
      seed,
      parameters: [],
      swept: [],
      ...(metric !== undefined && { metric }),
      count,
    }),
    line: [`${count} ${count === 1 ? "completion" : "completions"}`, ...most, `seed ${seed}`].join(", "),
    warnings: [],
  };
}

function* completions({ words, env, count }: Completions): Generator<Trial> {
  for (let index = 0; index < count; index++)
    yield {
      index,
      combination: index,
      repeat: 0,
      params: {},
      texts: {},
      args: words,
      env: { ...env, RAIN_COMPLETION_INDEX: String(index), RAIN_COMPLETIONS: String(count) },
    };
}

/** What only the server may say: the results would be wrong. */
const OWN: ReadonlySet<string> = new Set([
  "RAIN_COMPLETIONS",
  "RAIN_COMPLETION_INDEX",
  "RAIN_DATASTORE",
  "RAIN_EXPERIMENT",
  "RAIN_METRICS",
  "RAIN_RUN",
]);

/** `-e NAME=VALUE` */
export function parseVariable(option: string, text: string): readonly [string, string] {
  const shown = JSON.stringify(text.slice(0, 200));
  const [, name, value] = /^([A-Za-z_][A-Za-z0-9_]*)=([^\0]*)$/s.exec(text) ?? [];
  if (name === undefined || value === undefined) throw usageError(`${option} ${shown}: write NAME=VALUE`);
  if (OWN.has(name)) throw usageError(`${option} ${shown}: ${name} is set by Rain: choose another name`);
  return [name, value];
}

export interface Volume {
  /** File or folder of this machine. */
  readonly source: string;
  /** Where it is in the task's folder. */
  readonly place: string;
}

/** `-v SRC:DST` */
export function parseVolume(option: string, text: string): Volume {
  const shown = JSON.stringify(text.slice(0, 200));
  const at = text.lastIndexOf(":");
  const [source, given] = [text.slice(0, Math.max(at, 0)), text.slice(at + 1)];
  if (source === "" || given === "" || text.includes("\0"))
    throw usageError(`${option} ${shown}: write SRC:DST, as data:input/data`);
  if (given.startsWith("/"))
    throw usageError(
      `${option} ${shown}: SRC is sent to each governor and found in the task's own folder: write a relative DST, as ` +
        `${given.replace(/^\/+/, "") || "data"}, and let the command read it there`,
    );
  const parts = given.replace(/^\.\//, "").replace(/\/+$/, "").split("/");
  if (parts.some((part) => ["", ".", ".."].includes(part) || part.includes("\\")))
    throw usageError(
      `${option} ${shown}: DST must be a path inside the task's folder, as data or data/digits`,
    );
  return { source, place: parts.join("/") };
}

/** Two volumes in one place, or one inside another. */
export function checkVolumes(volumes: readonly Volume[]): void {
  volumes.forEach(({ place }, index) => {
    const other = volumes.find(
      (each, at) => at !== index && (each.place === place || each.place.startsWith(`${place}/`)),
    );
    if (other !== undefined)
      throw usageError(
        `-v: ${other.source} would lie in the place of another, at ${other.place}: choose another DST`,
      );
  });
}

/** The line that submits the same again. */
export function submitLine(
  name: string,
  { settings, count, env }: Completions,
  volumes: readonly Volume[],
  command: readonly string[],
): string {
  const flags = submitSettings.flatMap(({ name: setting, flag }) => {
    const text = writeSetting(settings, setting);
    if (text === undefined) return [];
    return setting === "localdir" && text === "false" ? ["--no-localdir"] : [longFlag(flag), text];
  });
  const more = [
    ...Object.entries(env).flatMap(([key, value]) => ["-e", `${key}=${value}`]),
    ...volumes.flatMap(({ source, place }) => ["-v", `${source}:${place}`]),
  ];
  return shellLine([
    "rain",
    "submit",
    name,
    "--completions",
    String(count),
    ...flags,
    ...more,
    "--",
    ...command,
  ]);
}
