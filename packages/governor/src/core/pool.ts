import type { Resources } from "@rain/protocol";
import type { Allocation } from "./types.ts";

/**
 * The units of this machine that no run has. Cpus and named resources are counted in thousandths, as integers, so
 * that what is taken and given back leaves nothing over. GPUs are whole: a request for a part of one gets all of it.
 */
export interface Request {
  readonly cpus: number;
  readonly gpus: number;
  readonly memory: number;
  readonly named: readonly (readonly [string, number])[];
}

const milli = (units: number): number => Math.round(units * 1000);

export function toRequest(resources: Resources): Request {
  const named = Object.entries(resources.named).map(([name, units]) => [name, milli(units)] as const);
  return {
    cpus: milli(resources.cpus),
    gpus: Math.ceil(resources.gpus),
    memory: resources.memory,
    named,
  };
}

export class Pool {
  readonly #capacity: Request;
  #cpus: number;
  #memory: number;
  readonly #gpuBusy: boolean[];
  #gpus: number;
  readonly #named: Map<string, number>;
  /** Cpus that no pinned run has, ascending; undefined when runs are not pinned. */
  #cpuIds: readonly number[] | undefined;

  constructor(capacity: Resources, cpuIds?: readonly number[]) {
    const whole = { ...toRequest(capacity), gpus: Math.floor(capacity.gpus) };
    this.#capacity = whole;
    this.#cpus = whole.cpus;
    this.#memory = whole.memory;
    this.#gpus = whole.gpus;
    this.#gpuBusy = Array.from({ length: whole.gpus }, () => false);
    this.#named = new Map(whole.named);
    this.#cpuIds = cpuIds?.toSorted((a, b) => a - b);
    if (cpuIds !== undefined && cpuIds.length * 1000 < whole.cpus)
      throw new Error(`${cpuIds.length} cpus to pin tasks to, for a capacity of ${capacity.cpus}`);
  }

  fits(request: Request): boolean {
    if (request.cpus > this.#cpus || request.gpus > this.#gpus || request.memory > this.#memory) return false;
    return request.named.every(([name, amount]) => amount <= (this.#named.get(name) ?? 0));
  }

  /** What of a request is more than the whole machine has, in words; empty when it can run here some time. */
  shortfalls(request: Request): string[] {
    const { cpus, gpus, memory, named } = this.#capacity;
    const short: string[] = [];
    if (request.cpus > cpus) short.push(`${request.cpus / 1000} cpus (has ${cpus / 1000})`);
    if (request.gpus > gpus) short.push(`${request.gpus} gpus (has ${gpus})`);
    if (request.memory > memory) short.push(`${request.memory} bytes of memory (has ${memory})`);
    const has = new Map(named);
    for (const [name, amount] of request.named) {
      const most = has.get(name) ?? 0;
      if (amount > most) short.push(`${amount / 1000} ${name} (has ${most / 1000})`);
    }
    return short;
  }

  /** The part of the machine that a request takes: of whichever resource it takes the largest part of, 0 to 1. */
  share(request: Request): number {
    const { cpus, gpus, memory, named } = this.#capacity;
    const has = new Map(named);
    const parts = [
      [request.cpus, cpus],
      [request.gpus, gpus],
      [request.memory, memory],
      ...request.named.map(([name, amount]) => [amount, has.get(name) ?? 0] as const),
    ] as const;
    return parts.reduce((most, [taken, all]) => (all > 0 ? Math.max(most, taken / all) : most), 0);
  }

  /** Takes the units of a request that fits; GPUs by lowest index. */
  take(request: Request): Allocation {
    if (!this.fits(request)) throw new Error("took resources that are not free");
    this.#add(request, -1);
    const gpus: number[] = [];
    for (let index = 0; gpus.length < request.gpus; index += 1) {
      if (this.#gpuBusy[index] !== false) continue;
      this.#gpuBusy[index] = true;
      gpus.push(index);
    }
    const cpuIds = this.#takeCpuIds(request);
    const units = { cpus: request.cpus / 1000, gpus, memory: request.memory };
    return cpuIds === undefined ? units : { ...units, cpuIds };
  }

  /** Whole cpus are a run's own; who asks for a part of one shares all of them with the others. */
  #takeCpuIds({ cpus }: Request): readonly number[] | undefined {
    const free = this.#cpuIds;
    if (free === undefined || cpus === 0 || cpus % 1000 !== 0) return undefined;
    this.#cpuIds = free.slice(cpus / 1000);
    return free.slice(0, cpus / 1000);
  }

  give(request: Request, allocation: Allocation): void {
    this.#add(request, 1);
    for (const index of allocation.gpus) this.#gpuBusy[index] = false;
    if (this.#cpuIds !== undefined && allocation.cpuIds !== undefined)
      this.#cpuIds = [...this.#cpuIds, ...allocation.cpuIds].toSorted((a, b) => a - b);
  }

  #add(request: Request, sign: 1 | -1): void {
    this.#cpus += sign * request.cpus;
    this.#memory += sign * request.memory;
    this.#gpus += sign * request.gpus;
    for (const [name, amount] of request.named) {
      this.#named.set(name, (this.#named.get(name) ?? 0) + sign * amount);
    }
  }

  /** Free units, for views. */
  get free(): Resources {
    const named = Object.fromEntries([...this.#named].map(([name, amount]) => [name, amount / 1000]));
    return { cpus: this.#cpus / 1000, gpus: this.#gpus, memory: this.#memory, named };
  }
}
