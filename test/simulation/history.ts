import { asDigest, type Digest } from "@rain/protocol";
import type { Bugs } from "./bugs.ts";
import { ClientNode, type Http } from "./client-node.ts";
import { endFaults, scheduleDrains, scheduleFaults, scheduleLongCuts, type Targets } from "./faults.ts";
import { GovernorNode, SERVER } from "./governor-node.ts";
import { Network } from "./network.ts";
import { Random } from "./random.ts";
import { planCapacity, planClient } from "./plan.ts";
import { planRun } from "./run-plan.ts";
import { ServerNode } from "./server-node.ts";
import type { Cluster } from "./store.ts";
import { watchKilled } from "./watch/killed.ts";
import { Watch } from "./watch/watch.ts";
import { Violation, World } from "./world.ts";

export interface HistoryOptions {
  readonly seed: number;
  readonly bugs?: Bugs | undefined;
  readonly onLine?: ((line: string) => void) | undefined;
}
export interface HistoryResult {
  readonly seed: number;
  readonly faults: number;
  /** Tasks that were taken from the cache. */
  readonly cached: number;
  /** Governors that were drained and told to stop. */
  readonly drained: number;
  readonly events: number;
  /** Digest of the whole log: the same for the same seed and code. */
  readonly digest: string;
  readonly violation: Violation | undefined;
  readonly lastLines: readonly string[];
}

/** Within so much virtual time after the last fault everything must have settled. */
const LIVENESS_MS = 900_000;
/** Within so much time after the last session closed nothing of them must be left. */
const CLEAN_UP_MS = 60_000;
/** A history that needs more events goes round in circles. */
const MAX_EVENTS = 150_000;

/** One history: a small cluster, its clients, a phase with faults, and a phase in which everything must come to an end. */
export function runHistory(options: HistoryOptions): HistoryResult {
  const world = new World(options);
  try {
    new History(world).run();
  } catch (error) {
    if (!world.violation) {
      const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
      world.violation = new Violation("exception", text, { cause: error });
      world.log(`VIOLATION exception: ${text.split("\n")[0]}`);
    }
  }
  const { seed, faults, cached, drained, violation, lastLines } = world;
  const { events } = world.loop;
  return { seed, faults, cached, drained, events, digest: world.digest(), violation, lastLines };
}

class History {
  readonly #world: World;
  readonly #watch: Watch;
  readonly #targets: Targets;
  readonly #clients: readonly ClientNode[];
  /** Comes when the others have done some of what it wants too. */
  readonly #late: ClientNode | undefined;
  readonly #safetyMs: number;

  constructor(world: World) {
    const { random } = world;
    this.#world = world;
    this.#safetyMs = random.pick([10_000, 40_000]);
    const network = new Network(world);
    const nodes = new Map<string, GovernorNode>();
    this.#watch = new Watch(world, nodes);
    const segmentBytes = random.pick([2_000, 20_000, 1_000_000]);
    const sizes = {
      segmentBytes,
      compactAfterBytes: segmentBytes * random.int(1, 3),
      batchBytes: random.pick([500, 1_000_000]),
    };
    const server = new ServerNode(world, network, this.#watch, sizes);
    const cluster: Cluster = {
      store: (name) => nodes.get(name)?.process?.store,
      serverHas: (sha256) => server.blobs.has(sha256),
      removing: (name, sha256) => this.#watch.removing(name, sha256),
      corruption: 0,
      forgetfulness: 0,
    };
    const count = random.int(1, 4);
    for (let n = 1; n <= count; n++) {
      const node = new GovernorNode(world, network, cluster, `g${n}`, planCapacity(random, n));
      nodes.set(node.name, node);
    }
    const governors = [...nodes.values()];
    const twins = governors.slice(0, 1).map((governor) => {
      const name = `${governor.name}-twin`;
      return new GovernorNode(world, network, cluster, name, planCapacity(random, 2), governor);
    });
    for (const twin of twins) nodes.set(twin.name, twin);
    watchKilled(world, governors, twins);
    const http = this.#http(network, server, governors);
    const cacheRandom = new Random(`cache ${world.seed}`);
    const cached = cacheRandom.chance(0.4) ? cacheRandom : undefined;
    const arrayRandom = new Random(`arrays ${world.seed}`);
    const arrays = arrayRandom.chance(0.5) ? arrayRandom : undefined;
    const plans = Array.from({ length: random.int(1, 2) }, (_, n) =>
      planClient(random, `c${n + 1}`, this.#safetyMs, cached, arrays),
    );
    // One more, which finds what the others did.
    if (cached) plans.push(planClient(cached, `c${plans.length + 1}`, this.#safetyMs, cached));
    const runRandom = new Random(`run ${world.seed}`);
    const isRun = runRandom.chance(0.5);
    this.#clients = plans.map((plan) => {
      return new ClientNode(world, network, http, isRun ? planRun(runRandom, plan) : plan);
    });
    this.#late = cached ? this.#clients.at(-1) : undefined;
    this.#targets = {
      world,
      network,
      server,
      governors,
      twins,
      clients: plans.map(({ name }) => name),
      cluster,
    };
  }

  #http(network: Network, server: ServerNode, governors: readonly GovernorNode[]): Http {
    const stores = (): Map<string, { store: { has(sha256: Digest): boolean } | undefined }> =>
      new Map(governors.map(({ name, process }) => [name, { store: process?.store }]));
    return {
      upload: (from, sha256, size, done) =>
        network.transfer(from, SERVER, size, (arrived) => {
          const stored = arrived && server.process?.core !== undefined;
          if (stored) server.upload(asDigest(sha256), size);
          done(stored);
        }),
      read: (from, session, object, done) =>
        network.transfer(from, SERVER, 0, (arrived) => {
          if (arrived && server.process) server.process.read(session, object, stores(), done);
          else done(undefined);
        }),
      losses: () => server.losses,
      wasReopened: (session, task) => this.#watch.records.reopened.has(`${session}/${task}`),
    };
  }

  run(): void {
    const { server, governors } = this.#targets;
    const { random, loop } = this.#world;
    server.start();
    for (const governor of governors) governor.startAfter(random.skewed(0, 3_000));
    for (const client of this.#clients) {
      const later = client === this.#late ? this.#safetyMs / 4 : 0;
      loop.after(random.skewed(later, later + 2_000), () => client.start());
    }
    const isGentle = scheduleLongCuts(this.#targets, this.#safetyMs);
    scheduleFaults(this.#targets, this.#safetyMs, isGentle);
    scheduleDrains(this.#targets, this.#safetyMs);
    this.#until(this.#safetyMs, () => false);
    this.#world.log("faults are over");
    endFaults(this.#targets);
    this.#settle();
    this.#end();
  }

  /** Everybody gets what they asked for. */
  #settle(): void {
    const done = (): boolean => this.#clients.every((client) => client.done);
    this.#until(this.#world.loop.now + LIVENESS_MS, done);
    for (const client of this.#clients) {
      this.#world.check(client.done, "liveness", () => `${client.name} still waits: ${this.#story()}`);
    }
  }

  /** Sessions close, and nothing is left of them. */
  #end(): void {
    const { server } = this.#targets;
    for (const client of this.#clients) client.close();
    const sessions = (): number => server.process?.core?.durable.sessions.size ?? 1;
    const isClosed = (): boolean => this.#clients.every((client) => client.closed) && sessions() === 0;
    this.#until(this.#world.loop.now + LIVENESS_MS, isClosed);
    this.#world.check(isClosed(), "liveness", () => `${sessions()} sessions are not closed`);
    this.#until(this.#world.loop.now + CLEAN_UP_MS, () => this.#leftovers() === "");
    const left = this.#leftovers();
    this.#world.check(left === "", "leftovers", () => left);
  }

  /** What is left on any side when nobody wants anything any more. */
  #leftovers(): string {
    const left: string[] = [];
    for (const { name, process } of this.#targets.governors) {
      if (process && process.store.size > 0) left.push(`${name} has ${process.store.size} objects`);
      const attempts = process?.core.attempts() ?? [];
      if (attempts.length > 0) left.push(`${name} has ${attempts.length} attempts`);
      if (process && process.executor.count > 0) left.push(`${name} runs ${process.executor.count} programs`);
    }
    for (const {
      id,
      attempts,
      replicas,
    } of this.#targets.server.process?.core?.kernel.live.governors.values() ?? []) {
      if (attempts.size > 0) left.push(`the server counts ${attempts.size} attempts on governor ${id}`);
      if (replicas.size > 0) left.push(`the server counts ${replicas.size} copies on governor ${id}`);
    }
    return left.join(", ");
  }

  #until(time: number, isDone: () => boolean): void {
    const { loop } = this.#world;
    while (!isDone() && loop.step(time)) {
      if (this.#world.violation) throw this.#world.violation;
      this.#watch.afterEvent();
      this.#world.check(
        loop.events < MAX_EVENTS,
        "liveness",
        () => `${loop.events} events: ${this.#story()}`,
      );
    }
  }

  /** Where the open tasks are. */
  #story(): string {
    const kernel = this.#targets.server.process?.core?.kernel;
    const open = [...(kernel?.live.tasks.values() ?? [])].map(
      ({ task, phase }) => `${task.session.id}/${task.spec.id} ${phase.kind}`,
    );
    return open.slice(0, 10).join(", ") || "no open tasks";
  }
}
