import type { AttemptRef, MetricPoint, Resources } from "@rain/protocol";
import { attemptKey, type GovernorEffect, type RunOutcome } from "@rain/governor/core";
import type { GovernorProcess } from "./governor-node.ts";
import type { Timer } from "./loop.ts";
import { behaviourOf, produce, type Behaviour } from "./programs.ts";
import type { World } from "./world.ts";

export type Run = Extract<GovernorEffect, { type: "run" }>;
interface Running {
  readonly run: Run;
  readonly behaviour: Behaviour;
  timer: Timer | undefined;
  over: boolean;
  /** Its program has ended. */
  collecting: boolean;
  /** Points that it has told. */
  told: number;
}

/** Runs simulated programs, and checks what must hold when one starts. */
export class Executor {
  readonly #world: World;
  readonly #process: GovernorProcess;
  readonly #capacity: Resources;
  readonly #running: Map<string, Running> = new Map();
  /** How the runs of this process ended, by attempt. */
  readonly ended: Map<string, RunOutcome> = new Map();

  constructor(world: World, process: GovernorProcess, capacity: Resources) {
    this.#world = world;
    this.#process = process;
    this.#capacity = capacity;
  }

  isRunning(ref: AttemptRef): boolean {
    return this.#running.has(attemptKey(ref));
  }
  get count(): number {
    return this.#running.size;
  }
  runs(): Iterable<Run> {
    return [...this.#running.values()].map(({ run }) => run);
  }

  run(run: Run): void {
    const key = attemptKey(run.ref);
    const { loop, random } = this.#world;
    const { name, store } = this.#process;
    this.#world.log(`${name} runs ${key}`);
    this.#world.check(!this.#running.has(key), "started-twice", () => `${name} runs ${key} already`);
    for (const input of run.inputs) {
      this.#world.check(
        store.has(input.sha256),
        "inputs-before-start",
        () => `${name} starts ${key} without o${input.object}`,
      );
      this.#world.check(
        store.realDigest(input.sha256) === input.sha256,
        "damaged-input",
        () => `${name} starts ${key} with damaged bytes of o${input.object}`,
      );
    }
    const running: Running = {
      run,
      behaviour: behaviourOf(run.spec),
      timer: undefined,
      over: false,
      collecting: false,
      told: 0,
    };
    this.#running.set(key, running);
    for (const each of this.#world.onRun) each(run, name);
    this.#checkCapacity();
    running.timer = loop.after(random.skewed(0.5, 10), () => {
      this.#process.awake(() => {
        if (running.over) return;
        // Any offset of the machine's own clock.
        this.#process.input({ type: "run.started", ref: run.ref, at: 1.7e12 + loop.now });
      });
      this.#measure(running);
      const ms = this.#world.stretched.get(run) ?? running.behaviour.ms;
      running.timer = loop.after(ms, () => this.#exit(running));
    });
  }

  /** The program has ended: often its outputs take a while to collect. */
  #exit(running: Running): void {
    const { loop, random } = this.#world;
    if (random.chance(0.7)) return this.#end(running, this.#outcome(running));
    if (running.over) return;
    running.collecting = true;
    running.timer = loop.after(random.skewed(1, 500), () => this.#end(running, this.#outcome(running)));
    this.#process.awake(() => {
      if (!running.over) this.#process.input({ type: "run.over", ref: running.run.ref });
    });
  }

  /** Tells some of the points while the program runs; the others come with its end. */
  #measure(running: Running): void {
    const { loop, random } = this.#world;
    const { points = 0, ms } = running.behaviour;
    for (let left = points; left > 0 && random.chance(0.8); left--) {
      loop.after(random.between(0, ms), () => {
        this.#process.awake(() => {
          if (running.over || running.told >= points) return;
          const news = this.#news(running, random.int(running.told + 1, points));
          this.#process.input({ type: "run.metrics", ref: running.run.ref, news });
        });
      });
    }
  }
  #news(running: Running, upTo: number): { readonly points: MetricPoint[] } {
    const at = 1.7e12 + this.#world.loop.now;
    const points: MetricPoint[] = [];
    for (; running.told < upTo; running.told++) {
      points.push({ name: running.told % 3 === 0 ? "epoch loss" : "loss", value: running.told, at });
    }
    return { points };
  }

  terminate(ref: AttemptRef, force: boolean): void {
    const { loop, random } = this.#world;
    const running = this.#running.get(attemptKey(ref));
    if (!running || running.collecting || (!force && running.behaviour.stubborn)) return;
    loop.after(random.skewed(1, 50), () => {
      const message = force ? "killed" : "ended by TERM";
      this.#end(running, { ok: false, failure: { reason: "signal", message, signal: "SIGTERM" }, info: {} });
    });
  }

  /** The process of the governor is gone, and all programs with it. */
  die(): void {
    for (const running of this.#running.values()) {
      running.over = true;
      if (running.timer) running.timer.cancelled = true;
    }
    this.#running.clear();
  }

  #outcome(running: Running): RunOutcome {
    const { run, behaviour } = running;
    const outcome = this.#result(run, behaviour);
    if (behaviour.points === undefined) return outcome;
    return { ...outcome, metrics: this.#news(running, behaviour.points) };
  }
  #result(run: Run, behaviour: Behaviour): RunOutcome {
    const info = { durationS: behaviour.ms / 1000, exitCode: behaviour.exit };
    const exitCode = behaviour.exit || (this.#world.random.chance(behaviour.flaky) ? 9 : 0);
    if (exitCode === 0)
      return { ok: true, outputs: produce(run.spec, run.inputs, this.#world.random.token("run")), info };
    const message = `the program ended with exit code ${exitCode}`;
    return { ok: false, failure: { reason: "exit", message, exitCode }, info: { ...info, exitCode } };
  }

  #end(running: Running, outcome: RunOutcome): void {
    if (running.over) return;
    running.over = true;
    if (running.timer) running.timer.cancelled = true;
    const { ref } = running.run;
    const key = attemptKey(ref);
    const { store } = this.#process;
    const outputs = outcome.ok ? outcome.outputs : [];
    for (const { sha256 } of outputs) store.pin(sha256);
    this.#running.delete(key);
    this.ended.set(key, outcome);
    this.#process.awake(() => {
      this.#world.log(
        `${this.#process.name}: run of ${key} ended ${outcome.ok ? "well" : outcome.failure.message}`,
      );
      for (const { sha256 } of outputs) store.unpin(sha256);
      this.#process.input({ type: "run.ended", ref, outcome });
    });
  }

  #checkCapacity(): void {
    const used = { cpus: 0, gpus: 0, memory: 0 };
    const named = new Map<string, number>();
    const indices = new Set<number>();
    const { name } = this.#process;
    for (const { run, collecting } of this.#running.values()) {
      if (collecting) continue;
      const { request } = run.spec;
      used.cpus += request.cpus;
      used.gpus += request.gpus;
      used.memory += request.memory;
      for (const [each, amount] of Object.entries(request.named))
        named.set(each, (named.get(each) ?? 0) + amount);
      for (const gpu of run.allocation.gpus) {
        this.#world.check(!indices.has(gpu), "gpu-twice", () => `${name} gives gpu ${gpu} to two attempts`);
        this.#world.check(gpu < this.#capacity.gpus, "oversubscribed", () => `${name} has no gpu ${gpu}`);
        indices.add(gpu);
      }
      this.#world.check(
        run.allocation.gpus.length >= request.gpus,
        "oversubscribed",
        () => `${name} gives ${run.allocation.gpus.length} of ${request.gpus} gpus`,
      );
    }
    for (const unit of ["cpus", "gpus", "memory"] as const) {
      this.#world.check(
        used[unit] <= this.#capacity[unit] + 1e-9,
        "oversubscribed",
        () => `${name} runs programs with ${used[unit]} ${unit} and has ${this.#capacity[unit]}`,
      );
    }
    for (const [each, amount] of named) {
      this.#world.check(
        amount <= (this.#capacity.named[each] ?? 0),
        "oversubscribed",
        () => `${name} runs programs with ${amount} ${each}`,
      );
    }
  }
}
