import { expect } from "vitest";
import seedrandom from "seedrandom";
import {
  asDigest,
  asGovernorId,
  asObjectId,
  asSessionId,
  asTaskId,
  isReport,
  type AssignedInput,
  type AttemptRef,
  type Digest,
  type GovernorMessage,
  type MetricPoint,
  type MetricsBatch,
  type Report,
  type ServerToGovernor,
  type TaskSpec,
} from "@rain/protocol";
import {
  attemptKey,
  GovernorCore,
  objectKey,
  type GovernorConfig,
  type GovernorEffect,
  type GovernorInput,
} from "@rain/governor/core";

export const capacity = { cpus: 4, gpus: 3, memory: 1_000, named: { lab: 2 } };
export const config: GovernorConfig = {
  killGraceMs: 500,
  hello: {
    identity: "identity",
    incarnation: "incarnation",
    name: "test",
    dataUrl: "http://127.0.0.1:1",
    capacity,
    labels: {},
  },
};
export const digestOf = (n: number): Digest => asDigest(n.toString(16).padStart(64, "0"));
export const session = asSessionId(1);
export const refOf = (task: number, attempt = 1): AttemptRef => ({ session, task: asTaskId(task), attempt });

export interface TaskShape {
  readonly cpus?: number;
  readonly gpus?: number;
  readonly memory?: number;
  readonly lab?: number;
  readonly timeoutS?: number;
  readonly priority?: number;
  /** Input objects and their digests, by number. */
  readonly inputs?: readonly (readonly [object: number, digest: number])[];
  readonly outputs?: readonly number[];
}

export function assignment(task: number, shape: TaskShape = {}, attempt = 1): ServerToGovernor {
  const inputs = (shape.inputs ?? []).map(([object, digest]): AssignedInput => {
    const sources = [{ url: "http://127.0.0.1:2/x", ticket: "t" }];
    return {
      object: asObjectId(object),
      kind: "blob",
      size: 1,
      sha256: digestOf(digest),
      contentType: "",
      sources,
    };
  });
  const spec: TaskSpec = {
    id: asTaskId(task),
    work: { type: "execute", args: ["true"] },
    inputs: inputs.map(({ object }) => ({ object })),
    outputs: (shape.outputs ?? []).map((object) => ({
      object: asObjectId(object),
      label: "",
      kind: "blob",
      contentType: "",
      keep: false,
      capture: "stdout",
    })),
    request: {
      cpus: shape.cpus ?? 1,
      gpus: shape.gpus ?? 0,
      memory: shape.memory ?? 0,
      named: shape.lab === undefined ? {} : { lab: shape.lab },
    },
    timeoutS: shape.timeoutS,
    priority: shape.priority,
  };
  return { type: "assign", ...refOf(task, attempt), spec, inputs };
}

export const registered = (epoch: number): ServerToGovernor => ({
  type: "registered",
  governor: asGovernorId(1),
  epoch,
  heartbeatMs: 1_000,
  leaseMs: 5_000,
  ticketKey: new Uint8Array(32),
});

/** Objects that come to be by `adopt` have numbers from here on. */
export const ADOPTED = 1_000_000;
/** And those that come by `copy`. */
export const COPIED = 2_000_000;

type RunEffect = Extract<GovernorEffect, { type: "run" }>;
interface Run {
  readonly effect: RunEffect;
  started: boolean;
  /** Its program is dead, and its outputs are being collected. */
  over: boolean;
  terminated: "no" | "term" | "kill";
  /** Number of points that it has told. */
  points: number;
}
interface ServerAttempt {
  /** `gone`: the assignment never arrived. */
  state: "assigned" | "gone" | Report;
  late: boolean;
}

/** Points `from` to `to` of a run, by their numbers. */
const pointsOf = (from: number, to: number): MetricPoint[] =>
  Array.from({ length: to - from }, (_, at) => ({ name: "m", value: from + at, at: 0 }));

/**
 * A server and a shell around one core, both driven by one seed. They are as hostile as the real ones may be: links
 * that break with messages on the way, acquisitions and runs that fail or end at odd times, assignments repeated.
 * Whatever must never happen is checked at every effect.
 */
export class World {
  readonly random: () => number;
  readonly core: GovernorCore;
  now = 0;
  wakeAt: number | undefined;
  exited: Extract<GovernorEffect, { type: "exit" }> | undefined;
  faults = true;

  // The wire: what was said and has not arrived yet.
  up = false;
  toServer: GovernorMessage[] = [];
  toGovernor: ServerToGovernor[] = [];
  /** The governor may speak freely: `registered` has arrived on this link. */
  mayTalk = false;
  saidRegister = false;

  // The server.
  epoch = 0;
  tasks = 0;
  serverRegistered = false;
  synced = false;
  readonly attempts = new Map<string, ServerAttempt>();
  readonly shapes = new Map<string, ServerToGovernor>();
  readonly replicas = new Map<string, Digest>();
  adopted = 0;
  copies = 0;
  /** Heartbeats that the server has not answered: when each left. */
  beats: number[] = [];
  resetting = false;
  resets = 0;
  /** Nothing proves to the governor that it is heard: as when one direction is cut. */
  deaf = false;
  /** Points that the server has of each attempt, by their numbers. */
  readonly points = new Map<string, number>();

  // The shell.
  readonly acquiring = new Set<Digest>();
  readonly stored = new Set<Digest>();
  readonly runs = new Map<string, Run>();
  readonly ran = new Set<string>();

  constructor(seed: string) {
    this.random = seedrandom(seed);
    this.core = new GovernorCore({ ...config, onLost: this.chance(0.5) ? "kill" : "finish" });
  }

  below(n: number): number {
    return Math.floor(this.random() * n);
  }
  chance(p: number): boolean {
    return this.random() < p;
  }
  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error("picked from nothing");
    return item;
  }

  handle(input: GovernorInput): void {
    const step = this.core.handle(input, this.now);
    for (const effect of step.effects) this.perform(effect);
    this.wakeAt = step.wakeAt;
    if (this.resetting) {
      this.resetting = false;
      this.resets += 1;
      this.cut();
      return;
    }
    if (step.wakeAt !== undefined && input.type === "tick") expect(step.wakeAt).toBeGreaterThan(this.now);
    this.checkRuns();
  }

  // ------------------------------------------------------------------------------------------------ the shell

  perform(effect: GovernorEffect): void {
    expect(this.exited).toBeUndefined();
    switch (effect.type) {
      case "send":
        this.say(effect.message);
        break;
      case "acquire":
        expect(this.acquiring.has(effect.sha256), "acquired twice at once").toBe(false);
        expect(this.stored.has(effect.sha256), "acquired though present").toBe(false);
        this.acquiring.add(effect.sha256);
        break;
      case "run":
        this.startRun(effect);
        break;
      case "terminate": {
        const run = this.runs.get(attemptKey(effect.ref));
        if (!run) throw new Error("terminated what does not run");
        expect(run.terminated).not.toBe("kill");
        if (!effect.force) expect(run.terminated).toBe("no");
        run.terminated = effect.force ? "kill" : "term";
        break;
      }
      case "remove": {
        expect(this.stored.delete(effect.sha256), "removed what is not here").toBe(true);
        break;
      }
      case "exit":
        this.exited = effect;
        break;
      case "reconnect":
        this.resetting = true;
        break;
      case "forget":
      case "tickets":
      case "log":
        break;
    }
  }

  say(message: GovernorMessage): void {
    expect(this.up).toBe(true);
    if (message.type === "register") {
      expect(this.saidRegister).toBe(false);
      this.saidRegister = true;
    } else {
      expect(this.mayTalk, `${message.type} before registered`).toBe(true);
    }
    if (message.type === "heartbeat") this.beats.push(this.now);
    this.toServer.push(message);
  }

  startRun(effect: RunEffect): void {
    const key = attemptKey(effect.ref);
    expect(this.ran.has(key), "run twice").toBe(false);
    expect(effect.allocation.gpus.length).toBe(effect.spec.request.gpus);
    this.ran.add(key);
    this.runs.set(key, { effect, started: false, over: false, terminated: "no", points: 0 });
  }

  /** What must hold at any time: within capacity, no GPU twice, inputs there. */
  checkRuns(): void {
    const used = { cpus: 0, memory: 0, lab: 0 };
    const gpus = new Set<number>();
    for (const { effect, over } of this.runs.values()) {
      for (const { sha256 } of effect.inputs) {
        if (!this.stored.has(sha256)) throw new Error(`input ${sha256} of a running attempt is not here`);
      }
      if (over) continue; // its units may be another's
      used.cpus += effect.spec.request.cpus;
      used.memory += effect.spec.request.memory;
      used.lab += effect.spec.request.named["lab"] ?? 0;
      for (const gpu of effect.allocation.gpus) {
        if (gpus.has(gpu) || gpu >= capacity.gpus) throw new Error(`gpu ${gpu} given twice or not there`);
        gpus.add(gpu);
      }
    }
    if (used.cpus > capacity.cpus || used.memory > capacity.memory || used.lab > capacity.named.lab) {
      throw new Error(`over capacity: ${JSON.stringify(used)}`);
    }
  }

  endAcquire(): void {
    const sha256 = this.pick([...this.acquiring]);
    this.acquiring.delete(sha256);
    if (this.faults && this.chance(0.2)) {
      this.handle({ type: "acquire.failed", sha256, why: "nobody had it" });
    } else {
      this.stored.add(sha256);
      this.handle({ type: "acquired", sha256 });
    }
  }

  stepRun(): void {
    const [key, run] = this.pick([...this.runs]);
    const { ref, spec } = run.effect;
    if (!run.started && run.terminated === "no" && this.chance(0.9)) {
      run.started = true;
      this.handle({ type: "run.started", ref, at: this.now });
      return;
    }
    if (run.started && this.chance(0.4)) {
      const points = pointsOf(run.points, run.points + (this.chance(0.02) ? 1_200 : this.below(4)));
      run.points += points.length;
      const params = this.chance(0.3) ? { params: { upTo: run.points } } : {};
      this.handle({ type: "run.metrics", ref, news: { points, ...params } });
      return;
    }
    if (run.terminated !== "kill" && this.chance(0.5)) return;
    if (!run.over && this.chance(0.4)) {
      run.over = true;
      this.handle({ type: "run.over", ref });
      return;
    }
    this.runs.delete(key);
    const last = pointsOf(run.points, run.points + (this.chance(0.02) ? 2_300 : this.below(3)));
    const metrics = { points: last };
    const info = { debug: String(run.points + last.length) };
    const fails = this.faults && this.chance(0.2);
    // Outputs often have the same bytes as others.
    const outputs = spec.outputs.map(({ object }) => {
      const sha256 = digestOf(this.below(12));
      return { object, size: 1, sha256, contentType: "" };
    });
    if (!fails) for (const output of outputs) this.stored.add(output.sha256);
    this.handle({
      type: "run.ended",
      ref,
      outcome: fails
        ? { ok: false, failure: { reason: "exit", message: "exit 1" }, info, metrics }
        : { ok: true, outputs, info, metrics },
    });
  }

  advance(): void {
    const to = this.now + this.below(400);
    while (this.wakeAt !== undefined && this.wakeAt <= to) {
      this.now = Math.max(this.now, this.wakeAt);
      this.handle({ type: "tick", loopDelayMs: this.below(10) });
    }
    this.now = to;
  }

  // --------------------------------------------------------------------------------------------------- the link

  connect(): void {
    this.up = true;
    this.deaf = this.faults && this.chance(0.5);
    this.handle({ type: "link.up" });
  }

  cut(): void {
    this.up = false;
    this.mayTalk = false;
    this.saidRegister = false;
    this.serverRegistered = false;
    this.synced = false;
    this.toServer = [];
    this.toGovernor = [];
    this.beats = [];
    this.handle({ type: "link.down" });
  }

  deliverToGovernor(): void {
    const message = this.toGovernor.shift();
    if (!message) return;
    if (message.type === "registered") this.mayTalk = true;
    this.handle({ type: "message", message });
  }

  // ------------------------------------------------------------------------------------------------- the server

  assignNew(): void {
    const task = this.tasks++;
    const shape: TaskShape = {
      cpus: this.pick([0, 0.5, 1, 2, 4]),
      gpus: this.pick([0, 0, 1, 2]),
      memory: this.pick([0, 300]),
      ...(this.chance(0.2) ? { lab: 1 } : {}),
      ...(this.chance(0.3) ? { timeoutS: 0.001 + this.below(1_000) / 1_000 } : {}),
      priority: this.below(3),
      // Objects 0..9 have digest = number; some are mixed up, as a program that ran again and wrote other bytes.
      inputs: Array.from({ length: this.below(4) }, () => {
        const object = this.below(10);
        return [object, this.chance(0.9) ? object : 10 + this.below(2)] as const;
      }),
      outputs: Array.from({ length: this.below(3) }, (_, index) => 1_000 + task * 10 + index),
    };
    const message = assignment(task, shape);
    const key = attemptKey(refOf(task));
    this.attempts.set(key, { state: "assigned", late: false });
    this.shapes.set(key, message);
    this.toGovernor.push(message);
  }

  /** The same assignment again: at once, or when all is over. */
  assignAgain(): void {
    const key = this.pick([...this.shapes.keys()]);
    const attempt = this.attempts.get(key);
    const message = this.shapes.get(key);
    if (!attempt || !message || attempt.state === "gone") return;
    if (attempt.state !== "assigned") attempt.late = true;
    this.toGovernor.push(message);
  }

  cancelSome(): void {
    if (this.chance(0.1)) {
      const unknown = refOf(500_000 + this.below(100));
      this.attempts.set(attemptKey(unknown), { state: "assigned", late: true });
      this.toGovernor.push({ type: "cancel", ...unknown });
      return;
    }
    const open = [...this.attempts].filter(([, attempt]) => attempt.state === "assigned").map(([key]) => key);
    const message = open.length > 0 ? this.shapes.get(this.pick(open)) : undefined;
    if (message?.type === "assign") this.toGovernor.push({ type: "cancel", ...refOf(message.task) });
  }

  dropSome(): void {
    for (const [key] of this.replicas) {
      if (this.faults && this.chance(0.5)) continue;
      const [, object] = key.split("/").map(Number);
      this.replicas.delete(key);
      this.toGovernor.push({ type: "drop", objects: [{ session, object: asObjectId(object ?? 0) }] });
    }
  }

  /** Another task has the result of one whose output is here. */
  adoptSome(): void {
    const [, sha256] = this.pick([...this.replicas]);
    const ref = { session, object: asObjectId(ADOPTED + this.adopted++) };
    // It may have gone meanwhile; a real server learns that from who reads it.
    this.replicas.set(objectKey(ref), sha256);
    this.toGovernor.push({ type: "adopt", objects: [{ ...ref, sha256 }] });
  }

  /** Another governor is drained: some of its objects are to be here. */
  copySome(): void {
    const object = asObjectId(COPIED + this.copies++);
    const sources = [{ url: "http://127.0.0.1:2/x", ticket: "t" }];
    const copy = {
      session,
      object,
      kind: "blob",
      size: 1,
      sha256: digestOf(this.below(12)),
      sources,
    } as const;
    this.toGovernor.push({ type: "copy", objects: this.chance(0.2) ? [copy, copy] : [copy] });
  }

  serverHears(): void {
    const message = this.toServer.shift();
    if (!message) return;
    if (message.type === "heartbeat") {
      const since = this.beats.shift();
      if (since === undefined) throw new Error("a heartbeat that never left");
      if (!this.deaf) this.handle({ type: "server.heard", since });
      return;
    }
    if (message.type === "register") {
      this.register(message.attempts);
    } else if (message.type === "holding") {
      for (const held of message.objects) this.replicas.set(objectKey(held), held.sha256);
      this.synced ||= message.done;
    } else if (message.type === "metrics") {
      this.hearMetrics(attemptKey(message), message);
    } else if (isReport(message)) {
      this.hearReport(message);
    }
  }

  register(held: readonly AttemptRef[]): void {
    this.epoch += 1;
    if (this.chance(0.3)) this.points.clear(); // it was started again, and had them in memory only
    this.serverRegistered = true;
    this.toGovernor.push(registered(this.epoch));
    const keys = new Set(held.map(attemptKey));
    for (const [key, attempt] of this.attempts) {
      if (attempt.state === "assigned" && !keys.has(key)) attempt.state = "gone";
    }
    for (const ref of held) {
      const attempt = this.attempts.get(attemptKey(ref));
      expect(attempt, "registered an attempt that nobody assigned").toBeDefined();
      if (attempt?.state !== "assigned") this.toGovernor.push({ type: "cancel", ...refOf(ref.task) });
    }
  }

  /** Points come without a gap, and those that come again are the same. */
  hearMetrics(key: string, { from, points }: MetricsBatch): void {
    const known = this.points.get(key) ?? 0;
    expect(from, `points of ${key} are missing`).toBeLessThanOrEqual(known);
    expect(points.findIndex(({ value }, at) => value !== from + at)).toBe(-1);
    expect(points.length).toBeLessThanOrEqual(1_000);
    this.points.set(key, Math.max(known, from + points.length));
  }

  hearReport(report: Report): void {
    const key = attemptKey(report);
    if (report.type === "finish" || report.type === "fail") {
      if (report.metrics !== undefined) this.hearMetrics(key, report.metrics);
      const all = report.info.debug;
      if (all !== undefined) expect(this.points.get(key) ?? 0, `points of ${key}`).toBe(Number(all));
    }
    const attempt = this.attempts.get(key);
    if (!attempt) throw new Error(`a report about ${key}, which nobody assigned`);
    if (attempt.state === "assigned") attempt.state = report;
    else if (attempt.state === "gone") throw new Error(`a report about ${key}, which it did not register`);
    else if (!(attempt.late && report.type === "stopped")) {
      expect(report, "a second report says the same").toEqual(attempt.state);
    }
    if (report.type === "finish") {
      for (const { object, sha256 } of report.outputs)
        this.replicas.set(objectKey({ session, object }), sha256);
    }
    this.toGovernor.push({ type: "ack", attempts: [refOf(report.task)] });
  }

  // ------------------------------------------------------------------------------------------------ the driver

  step(): void {
    const moves: (() => void)[] = [() => this.advance()];
    const add = (weight: number, move: () => void): void => {
      for (let i = 0; i < weight; i += 1) moves.push(move);
    };
    if (this.acquiring.size > 0) add(3, () => this.endAcquire());
    if (this.runs.size > 0) add(3, () => this.stepRun());
    if (!this.up) add(2, () => this.connect());
    if (this.toGovernor.length > 0) add(4, () => this.deliverToGovernor());
    if (this.toServer.length > 0) add(4, () => this.serverHears());
    if (this.faults) {
      if (this.up && this.chance(0.1)) add(1, () => this.cut());
      if (this.serverRegistered) {
        add(3, () => this.assignNew());
        add(1, () => this.cancelSome());
        add(1, () => this.dropSome());
        add(1, () => this.copySome());
        if (this.replicas.size > 0) add(1, () => this.adoptSome());
        if (this.shapes.size > 0) add(1, () => this.assignAgain());
      }
    }
    this.pick(moves)();
  }

  /** Faults stop: everything must come to its end. */
  settle(): void {
    this.faults = false;
    const isQuiet = (): boolean =>
      this.synced &&
      this.runs.size === 0 &&
      this.acquiring.size === 0 &&
      this.toServer.length === 0 &&
      this.toGovernor.length === 0;
    for (let steps = 0; !isQuiet(); steps += 1) {
      if (steps > 20_000) throw new Error(`not quiet: ${JSON.stringify(this.core.attempts())}`);
      this.step();
    }
  }
}
