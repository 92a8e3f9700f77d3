import type { Resources } from "@rain/protocol";

/**
 * Amounts of resources as integers: thousandths of cpus, gpus and named resources, bytes of memory. Sums and
 * differences of them are exact, so that what is taken and given back leaves nothing over.
 */
export interface Amounts {
  readonly cpus: number;
  readonly gpus: number;
  readonly memory: number;
  readonly named: ReadonlyMap<string, number>;
}

const milli = (units: number): number => Math.round(units * 1000);

export function toAmounts(resources: Resources): Amounts {
  const named = new Map<string, number>();
  for (const name of Object.keys(resources.named).toSorted())
    named.set(name, milli(resources.named[name] ?? 0));
  return { cpus: milli(resources.cpus), gpus: milli(resources.gpus), memory: resources.memory, named };
}

export function fromAmounts(amounts: Amounts): Resources {
  const named: Record<string, number> = {};
  for (const [name, amount] of amounts.named) named[name] = amount / 1000;
  return { cpus: amounts.cpus / 1000, gpus: amounts.gpus / 1000, memory: amounts.memory, named };
}

/** The same text for the same request: the name of its resource class. */
export function classKey(amounts: Amounts): string {
  let key = `${amounts.cpus},${amounts.gpus},${amounts.memory}`;
  for (const [name, amount] of amounts.named) key += `,${name}=${amount}`;
  return key;
}

export function fits(request: Amounts, free: Amounts): boolean {
  if (request.cpus > free.cpus || request.gpus > free.gpus || request.memory > free.memory) return false;
  for (const [name, amount] of request.named) if (amount > (free.named.get(name) ?? 0)) return false;
  return true;
}

/** How many times the request has room in `free`; Infinity when it asks for nothing. */
export function howOften(request: Amounts, free: Amounts): number {
  const times = (asked: number, has: number): number => (asked === 0 ? Infinity : Math.floor(has / asked));
  let most = Math.min(
    times(request.cpus, free.cpus),
    times(request.gpus, free.gpus),
    times(request.memory, free.memory),
  );
  for (const [name, amount] of request.named) most = Math.min(most, times(amount, free.named.get(name) ?? 0));
  return Math.max(0, most);
}

/** `a + sign * b`, with the names of `a`. */
function combine(a: Amounts, b: Amounts, sign: 1 | -1): Amounts {
  let named = a.named;
  if (b.named.size > 0) {
    const sum = new Map(a.named);
    for (const [name, amount] of b.named) sum.set(name, (sum.get(name) ?? 0) + sign * amount);
    named = sum;
  }
  return {
    cpus: a.cpus + sign * b.cpus,
    gpus: a.gpus + sign * b.gpus,
    memory: a.memory + sign * b.memory,
    named,
  };
}
export const plus = (a: Amounts, b: Amounts): Amounts => combine(a, b, 1);
export const minus = (a: Amounts, b: Amounts): Amounts => combine(a, b, -1);

/** Says what of a request is more than there is: `4 gpus (has 1)`. */
export function shortfalls(request: Amounts, available: Amounts): string[] {
  const short: string[] = [];
  if (request.cpus > available.cpus) short.push(`${request.cpus / 1000} cpus (has ${available.cpus / 1000})`);
  if (request.gpus > available.gpus) short.push(`${request.gpus / 1000} gpus (has ${available.gpus / 1000})`);
  if (request.memory > available.memory)
    short.push(`${request.memory} bytes of memory (has ${available.memory})`);
  for (const [name, amount] of request.named) {
    const has = available.named.get(name) ?? 0;
    if (amount > has) short.push(`${amount / 1000} ${name} (has ${has / 1000})`);
  }
  return short;
}
