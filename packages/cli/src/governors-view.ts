import type { GovernorView, Resources } from "@rain/protocol";
import { escapeText } from "./escape.ts";
import { formatAmount, formatBytes, table, type Column, type Io } from "./output.ts";

/** A governor in `-o json`. */
export interface GovernorJson {
  readonly id: number;
  readonly name: string;
  readonly state: GovernorView["state"];
  readonly capacity: Resources;
  readonly used: Resources;
  readonly labels: GovernorView["labels"];
  readonly environments: readonly string[];
  /** Own executors. */
  readonly executors: readonly string[];
  /** Null when its configuration does not say. */
  readonly costPerHour: number | null;
  /** It gets no new tasks. */
  readonly draining: boolean;
  /** Why it has not stopped yet; null when it is not draining. */
  readonly drainStatus: string | null;
  /** How it holds tasks to the memory that they asked for; null when it does not say. */
  readonly memoryLimit: GovernorView["memoryLimit"] | null;
  /** Processes that one task may have; null when it does not say. */
  readonly processLimit: number | null;
  /** Assigned and running ones, as SESSION/TASK. */
  readonly tasks: readonly string[];
  /** How many data objects it holds. */
  readonly objects: number;
}

export const governorJson = (view: GovernorView): GovernorJson => ({
  id: view.governor,
  name: view.name,
  state: view.state,
  capacity: view.capacity,
  used: view.used,
  labels: view.labels,
  environments: view.environments ?? [],
  executors: view.executors ?? [],
  costPerHour: view.costPerHour ?? null,
  draining: view.draining === true,
  drainStatus: view.drainStatus ?? null,
  memoryLimit: view.memoryLimit ?? null,
  processLimit: view.processLimit ?? null,
  tasks: view.tasks.map(({ session, task }) => `${session}/${task}`),
  objects: view.objects.length,
});

const columns: readonly Column[] = [
  { title: "ID", align: "right" },
  { title: "GOVERNOR", flexible: true },
  { title: "STATE" },
  { title: "CPUS", align: "right" },
  { title: "GPUS", align: "right" },
  { title: "MEMORY", align: "right" },
  { title: "TASKS", align: "right" },
  { title: "OBJECTS", align: "right" },
  { title: "LABELS", flexible: true },
];

/** Governors as a table. */
export function governorTable(governors: readonly GovernorJson[], io: Io): string {
  const share = (used: number, of: number, format: (n: number) => string): string =>
    of === 0 ? "-" : `${format(used)}/${format(of)}`;
  const rows = governors.map(({ id, name, state, draining, capacity, used, tasks, objects, labels }) => [
    String(id),
    name,
    draining && state === "connected" ? "draining" : state,
    share(used.cpus, capacity.cpus, formatAmount),
    share(used.gpus, capacity.gpus, formatAmount),
    share(used.memory, capacity.memory, formatBytes),
    String(tasks.length),
    String(objects),
    labelText(labels),
  ]);
  const waits = governors
    .filter(({ drainStatus }) => drainStatus !== null)
    .map(({ id, name, drainStatus }) => escapeText(`governor ${id} (${name}) is drained: ${drainStatus}`));
  return [table(columns, rows, io), ...waits].join("\n");
}

const labelText = (labels: GovernorView["labels"]): string =>
  Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(" ");
