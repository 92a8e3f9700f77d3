import { executorOf, type GovernorHello, type TaskSpec } from "@rain/protocol";

/** What a task asks of a governor beside resources: labels with exact values, an environment or own executor by its name. */
export interface Demand {
  readonly labels: readonly (readonly [string, string])[];
  readonly environment: string | undefined;
  readonly executor: string | undefined;
}

/** Undefined when any governor will do. */
export function demandOf(spec: Pick<TaskSpec, "labels" | "work">): Demand | undefined {
  const labels = Object.entries(spec.labels ?? {}).toSorted(([a], [b]) => (a < b ? -1 : 1));
  const environment = spec.work.type === "execute" ? spec.work.environment : undefined;
  const executor = spec.work.type === "custom" ? executorOf(spec.work.method) : undefined;
  const any = labels.length === 0 && environment === undefined && executor === undefined;
  return any ? undefined : { labels, environment, executor };
}

/** The same text for the same demand: a part of the name of a resource class. */
export const demandKey = (demand: Demand | undefined): string =>
  demand === undefined
    ? ""
    : JSON.stringify([demand.labels, demand.environment ?? null, demand.executor ?? null]);

export function meets(demand: Demand | undefined, hello: GovernorHello | undefined): boolean {
  if (demand === undefined) return true;
  if (hello === undefined) return false;
  const { labels, environment, executor } = demand;
  if (environment !== undefined && hello.environments?.includes(environment) !== true) return false;
  if (executor !== undefined && hello.executors?.includes(executor) !== true) return false;
  return labels.every(([name, value]) => Object.hasOwn(hello.labels, name) && hello.labels[name] === value);
}

/** Says what a governor does not have of a demand: `label zone=a (has zone=b)`. */
export function lacks(demand: Demand | undefined, hello: GovernorHello | undefined): string[] {
  if (demand === undefined || hello === undefined) return [];
  const missing: string[] = [];
  const { labels, environment, executor } = demand;
  const lackName = (kind: string, name: string | undefined, has: readonly string[] = []): void => {
    if (name === undefined || has.includes(name)) return;
    missing.push(`${kind} ${name} (has ${has.length === 0 ? "none" : has.join(", ")})`);
  };
  lackName("environment", environment, hello.environments);
  lackName("executor", executor, hello.executors);
  for (const [name, value] of labels) {
    const has = Object.hasOwn(hello.labels, name) ? hello.labels[name] : undefined;
    if (has === value) continue;
    missing.push(`label ${name}=${value} (has ${has === undefined ? `no ${name}` : `${name}=${has}`})`);
  }
  return missing;
}
