import type { Json } from "@rain/protocol";
import { z } from "zod";

/**
 * What a run is, as its session's attributes (`user.run`) keep it, and what a trial is, as its task's attributes
 * (`user.trial`) do. docs/runs.md has the meaning of each field. Written by `rain run`, read by the commands after it;
 * the server only stores it.
 */

export type Goal = "min" | "max";

export interface RunManifest {
  readonly v: 1;
  readonly kind: "sweep" | "completions";
  readonly name: string;
  readonly description?: string | undefined;
  /** Milliseconds since 1970. */
  readonly created: number;
  /** The words before the program's own arguments: `["python3", "train.py"]`. */
  readonly program: readonly string[];
  /** The program's arguments as they were typed. */
  readonly words: readonly string[];
  readonly strategy?: string | undefined;
  readonly trials?: number | undefined;
  readonly where?: string | undefined;
  readonly repeat?: number | undefined;
  readonly seed: number;
  /** Keys of all parameters, in the order of the command line. */
  readonly parameters: readonly string[];
  /** Those that vary. */
  readonly swept: readonly string[];
  readonly metric?: { readonly name: string; readonly goal?: Goal | undefined } | undefined;
  /** YAML that `rain run --config` takes to repeat the run. */
  readonly config: string;
  /** Where the project folder was, for people. */
  readonly project?: string | undefined;
  /** Number of trials that were submitted at first; `extend` adds more. */
  readonly count: number;
}

export interface TrialInfo {
  /** From 0. */
  readonly index: number;
  readonly combination?: number | undefined;
  readonly repeat?: number | undefined;
  readonly params: Readonly<Record<string, Json>>;
  /** The same as they stand on the command line. */
  readonly texts: Readonly<Record<string, string>>;
}

export const trialInfo: z.ZodType<TrialInfo> = z.object({
  index: z.int().min(0),
  combination: z.int().min(0).optional(),
  repeat: z.int().min(0).optional(),
  params: z.record(z.string(), z.json()),
  texts: z.record(z.string(), z.string()),
});

export const runManifest: z.ZodType<RunManifest> = z.object({
  v: z.literal(1),
  kind: z.enum(["sweep", "completions"]),
  name: z.string(),
  description: z.string().optional(),
  created: z.number(),
  program: z.array(z.string()).min(1),
  words: z.array(z.string()),
  strategy: z.string().optional(),
  trials: z.int().optional(),
  where: z.string().optional(),
  repeat: z.int().optional(),
  seed: z.int(),
  parameters: z.array(z.string()),
  swept: z.array(z.string()),
  metric: z.object({ name: z.string(), goal: z.enum(["min", "max"]).optional() }).optional(),
  config: z.string(),
  project: z.string().optional(),
  count: z.int().min(0),
});
