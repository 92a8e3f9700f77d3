import type { GovernorHello, TaskSpec } from "@rain/protocol";

/** What a task asks of a governor beside resources: labels with exact values, and an environment by its name. */
export interface Demand {
  readonly labels: readonly (readonly [string, string])[];
  readonly environment: string | undefined;
}

/** Undefined when any governor will do. */
export function demandOf(spec: TaskSpec): Demand | undefined {
  const labels = Object.entries(spec.labels ?? {}).toSorted(([a], [b]) => (a < b ? -1 : 1));
  const environment = spec.work.type === "execute" ? spec.work.environment : undefined;
  return labels.length === 0 && environment === undefined ? undefined : { labels, environment };
}

/** The same text for the same demand: a part of the name of a resource class. */
export const demandKey = (demand: Demand | undefined): string =>
  demand === undefined ? "" : JSON.stringify([demand.labels, demand.environment ?? null]);

export function meets(demand: Demand | undefined, hello: GovernorHello | undefined): boolean {
  if (demand === undefined) return true;
  if (hello === undefined) return false;
  const { labels, environment } = demand;
  if (environment !== undefined && hello.environments?.includes(environment) !== true) return false;
  return labels.every(([name, value]) => Object.hasOwn(hello.labels, name) && hello.labels[name] === value);
}

/** Says what a governor does not have of a demand: `label zone=a (has zone=b)`. */
export function lacks(demand: Demand | undefined, hello: GovernorHello | undefined): string[] {
  if (demand === undefined || hello === undefined) return [];
  const missing: string[] = [];
  const { labels, environment } = demand;
  if (environment !== undefined && hello.environments?.includes(environment) !== true) {
    const has = hello.environments ?? [];
    missing.push(`environment ${environment} (has ${has.length === 0 ? "none" : has.join(", ")})`);
  }
  for (const [name, value] of labels) {
    const has = Object.hasOwn(hello.labels, name) ? hello.labels[name] : undefined;
    if (has === value) continue;
    missing.push(`label ${name}=${value} (has ${has === undefined ? `no ${name}` : `${name}=${has}`})`);
  }
  return missing;
}
