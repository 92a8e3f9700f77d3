import type { Goal } from "./manifest.ts";

/**
 * What `rain run` may be told, beside the program and its arguments: each is a flag and a key of the YAML file. Nothing
 * is imported here, so that help is quick; settings.ts reads the values.
 */
export interface SettingFlag {
  /** The flag, with its value's name: `--cpus <N>`. */
  readonly flag: string;
  /** Where it stands in the YAML file. */
  readonly key: string;
  readonly help: string;
  /** It has a line in `rain run --help`, which has room for some. */
  readonly isCommon?: boolean;
}

export interface RunSettings {
  readonly name?: string;
  readonly description?: string;
  readonly cpus?: number;
  readonly gpus?: number;
  /** Bytes. */
  readonly memory?: number;
  /** Gigabytes (of 1024). */
  readonly diskSize?: number;
  readonly instanceType?: string;
  readonly framework?: string;
  readonly credential?: string;
  readonly datastoreName?: string;
  readonly datastoreVersion?: number;
  readonly datastoreMountDir?: string;
  readonly maxNodes?: number;
  readonly ignoreWarnings?: boolean;
  /** The project folder; false for none. */
  readonly localdir?: string | false;
  /** Seconds. */
  readonly timeout?: number;
  readonly retries?: number;
  readonly parallelism?: number;
  readonly failFast?: boolean;
  readonly maxFails?: number;
  readonly metric?: { readonly name: string; readonly goal?: Goal };
  readonly cache?: boolean;
  readonly strategy?: string;
  readonly trials?: number;
  readonly where?: string;
  readonly repeat?: number;
  readonly seed?: number;
}
export type SettingName = keyof RunSettings;

const isCommon = true;
const train = "compute.train";
const search = "hyper_params.settings";

/** In the order of the YAML file. */
export const SETTING_FLAGS: { readonly [K in SettingName]: SettingFlag } = {
  name: {
    flag: "--name <NAME>",
    key: "run.name",
    help: "its name (default: adjective-animal-NNN)",
    isCommon,
  },
  description: { flag: "--description <TEXT>", key: "run.description", help: "what it is for" },
  cpus: { flag: "--cpus <N>", key: `${train}.cpus`, help: "of each trial (default: 1)", isCommon },
  gpus: { flag: "--gpus <N>", key: `${train}.gpus`, help: "of each trial (default: 0)", isCommon },
  memory: { flag: "--memory <SIZE>", key: `${train}.memory`, help: "of each trial, as 10G", isCommon },
  diskSize: { flag: "--disk_size <GB>", key: `${train}.disk_size`, help: "resource disk of each trial" },
  instanceType: {
    flag: "--instance_type <T>",
    key: `${train}.instance`,
    help: "label that governors must have",
  },
  framework: { flag: "--framework <NAME>", key: `${train}.framework`, help: "environment of the governors" },
  maxNodes: { flag: "--max_nodes <N>", key: `${train}.max_nodes`, help: "the most trials (default: 100)" },
  datastoreName: { flag: "--datastore_name <N>", key: `${train}.datastore_name`, help: "datastore to mount" },
  datastoreVersion: {
    flag: "--datastore_version <V>",
    key: `${train}.datastore_version`,
    help: "its version",
  },
  datastoreMountDir: {
    flag: "--datastore_mount_dir <D>",
    key: `${train}.datastore_mount_dir`,
    help: "where, in the trial's folder",
  },
  credential: { flag: "--credential <NAME>", key: "compute.provider.credentials", help: "cluster to run on" },
  strategy: {
    flag: "--strategy <NAME>",
    key: `${search}.strategy`,
    help: "grid_search (default), random_search, zip, none",
    isCommon,
  },
  trials: { flag: "--trials <N>", key: `${search}.trials`, help: "how many, with random_search", isCommon },
  where: { flag: "--where <EXPR>", key: `${search}.where`, help: 'filter: "lr * batch_size < 1"', isCommon },
  repeat: {
    flag: "--repeat <N>",
    key: `${search}.repeat`,
    help: "each trial N times, with RAIN_SEED 0, 1, ...",
    isCommon,
  },
  seed: {
    flag: "--seed <N>",
    key: `${search}.seed`,
    help: "of what is drawn (default: one is drawn)",
  },
  metric: {
    flag: "--metric <NAME[:GOAL]>",
    key: "run.metric",
    help: "judge by it; GOAL: min, max",
    isCommon,
  },
  parallelism: {
    flag: "--parallelism <N>",
    key: "run.parallelism",
    help: "the most trials at once",
    isCommon,
  },
  failFast: { flag: "--fail-fast", key: "run.fail_fast", help: "cancel the rest at the first failure" },
  maxFails: { flag: "--max-fails <N>", key: "run.max_fails", help: "cancel the rest at the Nth failure" },
  timeout: { flag: "--timeout <TIME>", key: "run.timeout", help: "the longest a trial may run: 90, 2h" },
  retries: { flag: "--retries <N>", key: "run.retries", help: "further tries of a trial that fails" },
  cache: { flag: "--cache", key: "run.cache", help: "take over results of the same trials" },
  localdir: {
    flag: "--localdir <DIR>",
    key: "run.localdir",
    help: "project folder (default: this one)",
  },
  ignoreWarnings: { flag: "--ignore_warnings", key: "run.ignore_warnings", help: "go on above --max_nodes" },
};

export const settingNames: readonly SettingName[] = Object.keys(SETTING_FLAGS) as SettingName[];

/** The flag without the name of its value: `--cpus`. */
export const flagWord = (flag: string): string => flag.split(" ")[0] ?? flag;
/** Other ways to write a flag. */
export const FLAG_ALIASES: Readonly<Record<string, string>> = { "--num_trials": "--trials" };
