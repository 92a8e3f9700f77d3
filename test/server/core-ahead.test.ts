import {
  asTaskId,
  type GovernorHello,
  type GovernorMessage,
  type Report,
  type ServerToGovernor,
  type SessionId,
  type TaskSpec,
} from "@rain/protocol";
import { DurableState, ServerCore, type ServerEffect, type ServerInput } from "@rain/server/core";
import { beforeEach, describe, expect, it } from "vitest";

/** Work that governors are given before they have room for it, and how they give it back. */

const config = {
  version: "0",
  clusterId: "c",
  instance: "i",
  leaseMs: 15_000,
  heartbeatMs: 2_000,
  sessionLeaseMs: 60_000,
  crashLimit: 3,
  aheadMs: 100,
};

class Bench {
  now = 1_000_000;
  durable = new DurableState();
  core = new ServerCore(config, this.durable, this.now);
  readonly session = 1 as SessionId;
  #task = 0;

  input(input: ServerInput): ServerEffect[] {
    const step = this.core.handle(input, this.now);
    const made = [...step.effects];
    if (step.wakeAt !== undefined && step.wakeAt <= this.now && input.type !== "tick")
      made.push(...this.input({ type: "tick" }));
    return made;
  }
  say(connection: number, message: GovernorMessage): ServerEffect[] {
    return this.input({ type: "governor.message", connection, message });
  }
  join(
    connection: number,
    traits: Partial<GovernorHello> = {},
    attempts: [task: number, running: boolean][] = [],
  ): ServerEffect[] {
    const hello = {
      identity: `identity-${connection}`,
      incarnation: "incarnation-1",
      name: `g${connection}`,
      dataUrl: "http://127.0.0.1:1",
      capacity: { cpus: 2, gpus: 0, memory: 0, named: {} },
      labels: {},
      ahead: true,
      ...traits,
    };
    const has = attempts.map(([task, running]) => ({ ...this.ref(task), running }));
    const made = this.say(connection, { type: "register", ...hello, attempts: has });
    return [...made, ...this.say(connection, { type: "holding", objects: [], done: true })];
  }
  open(): void {
    const request = {
      type: "session.open",
      req: 1,
      key: "session-key",
      name: "s",
      onError: "continue",
      detached: false,
    } as const;
    this.input({ type: "client.request", connection: 100, request });
  }
  submit(count: number, fields: Partial<TaskSpec> = {}): ServerEffect[] {
    const tasks = Array.from({ length: count }, (): TaskSpec => ({
      id: asTaskId(this.#task++),
      work: { type: "execute", args: ["true"] },
      inputs: [],
      outputs: [],
      request: { cpus: 1, gpus: 0, memory: 0, named: {} },
      ...fields,
    }));
    const { session } = this;
    const request = {
      type: "submit",
      req: 1,
      session,
      key: `submit-${this.#task}`,
      tasks,
      constants: [],
    } as const;
    return this.input({ type: "client.request", connection: 100, request });
  }
  ref(task: number, attempt = 1): { session: SessionId; task: ReturnType<typeof asTaskId>; attempt: number } {
    return { session: this.session, task: asTaskId(task), attempt };
  }
  finish(connection: number, task: number, seconds = 0.002, attempt = 1): ServerEffect[] {
    const report: Report = {
      type: "finish",
      ...this.ref(task, attempt),
      outputs: [],
      info: { durationS: seconds },
    };
    return this.say(connection, report);
  }
  waiting(id: number): number {
    return (
      [...this.core.kernel.live.governors.values()].find((governor) => governor.id === id)?.ahead.size ?? -1
    );
  }
  free(id: number): number {
    return (
      [...this.core.kernel.live.governors.values()].find((governor) => governor.id === id)?.free.cpus ?? -1
    );
  }
  task(task: number): { crashes: number } | undefined {
    return this.durable.sessions.get(this.session)?.tasks.get(asTaskId(task));
  }
}
let bench: Bench;
beforeEach(() => {
  bench = new Bench();
  bench.open();
});

const assigned = (effects: readonly ServerEffect[]): number[] =>
  effects.flatMap((effect) => (effect.type === "assign" ? [effect.task] : []));
const retracted = (effects: readonly ServerEffect[]): number[] =>
  effects
    .flatMap((effect) => (effect.type === "send" ? [effect.message as ServerToGovernor] : []))
    .flatMap((message) => (message.type === "retract" ? [message.task] : []));

describe("work ahead", () => {
  it("comes once the first run was short, and in order", () => {
    bench.join(1);
    expect(assigned(bench.submit(10))).toEqual([0, 1]);
    expect(assigned(bench.finish(1, 0))).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
    expect([bench.waiting(1), bench.free(1)]).toEqual([7, 0]);
    bench.finish(1, 1);
    expect([bench.waiting(1), bench.free(1)]).toEqual([6, 0]);
    for (const task of [2, 3, 4, 5, 6, 7, 8, 9]) bench.finish(1, task);
    expect([bench.waiting(1), bench.free(1)]).toEqual([0, 2_000]);
  });

  it("is bounded, and does not come for long runs, without knowledge of runs, or to older governors", () => {
    bench.join(1);
    bench.submit(100);
    expect(assigned(bench.finish(1, 0)).length).toBe(33);
    expect(bench.waiting(1)).toBe(32);

    bench = new Bench();
    bench.open();
    bench.join(1);
    bench.submit(10);
    expect(assigned(bench.finish(1, 0, 0.5))).toEqual([2]);

    bench = new Bench();
    bench.open();
    bench.join(1, { ahead: false });
    bench.submit(10);
    expect(assigned(bench.finish(1, 0))).toEqual([2]);
  });

  it("does not come between others and their turn", () => {
    bench.join(1);
    bench.submit(2);
    bench.submit(1, { request: { cpus: 2, gpus: 0, memory: 0, named: {} } });
    bench.submit(5);
    // The large task came first: what is small waits like it, where it has no room.
    expect(assigned(bench.finish(1, 0))).toEqual([3]);
    expect(bench.waiting(1)).toBe(0);
  });

  it("goes back when a task of more priority waits", () => {
    bench.join(1);
    bench.submit(10);
    bench.finish(1, 0);
    const made = bench.submit(1, { priority: 1, request: { cpus: 2, gpus: 0, memory: 0, named: {} } });
    expect(retracted(made)).toEqual([3, 4, 5, 6, 7, 8, 9]);
    expect(retracted(bench.submit(1))).toEqual([]); // asked once
  });

  it("goes to another governor that has room, when its own lets go of it", () => {
    bench.join(1);
    bench.submit(10);
    bench.finish(1, 0);
    expect(retracted(bench.join(2))).toEqual([9, 8]);
    // One of them had begun meanwhile.
    expect(assigned(bench.say(1, { type: "stopped", ...bench.ref(9) }))).toEqual([9]);
    expect(bench.finish(1, 8).some((effect) => effect.type === "send")).toBe(true);
    expect([...bench.durable.session(bench.session).settled]).toEqual([0, 8]);
  });

  it("goes back when its governor is drained", () => {
    bench.join(1);
    bench.submit(5);
    bench.finish(1, 0);
    const request = { type: "governor.drain", req: 2, governor: 1 } as never;
    const made = bench.input({ type: "client.request", connection: 100, request });
    expect(retracted(made)).toEqual([3, 4]);
  });

  it("has not crashed when its governor is lost; what had room has", () => {
    bench.join(1);
    bench.submit(6);
    bench.finish(1, 0);
    // 1 and 2 have room; 3 to 5 wait. One of those was in fact begun instead.
    bench.say(1, { type: "started", ...bench.ref(4), at: 1 });
    bench.input({ type: "governor.gone", connection: 1 });
    bench.join(1, { incarnation: "incarnation-2" });
    const crashes = [1, 2, 3, 4, 5].map((task) => bench.task(task)?.crashes);
    expect(crashes.filter((count) => count === 1).length).toBe(2);
    expect(crashes[3]).toBe(1);
  });

  it("has no room before what runs, when its governor comes back to a server that forgot what runs", () => {
    bench.join(1);
    bench.submit(4);
    const again = new DurableState();
    for (const item of [...bench.durable.dump()]) again.load(item);
    bench.durable = again;
    bench.core = new ServerCore(config, again, bench.now);
    bench.join(1, {}, [
      [0, false],
      [1, false],
      [2, true],
      [3, true],
    ]);
    expect([bench.waiting(1), bench.free(1)]).toEqual([2, 0]);
    bench.finish(1, 0);
    expect([bench.waiting(1), bench.free(1)]).toEqual([1, 0]);
  });

  it("is known again after a restart of the server, by its record and by what the governor says", () => {
    bench.join(1);
    bench.submit(6);
    bench.finish(1, 0);
    const before = [...bench.durable.dump()];
    const again = new DurableState();
    for (const item of before) again.load(item);
    bench.durable = again;
    bench.core = new ServerCore(config, again, bench.now);
    expect(bench.waiting(1)).toBe(3);
    // Of those that were to wait, 3 runs now.
    bench.join(1, {}, [
      [2, true],
      [3, true],
      [4, false],
      [5, false],
    ]);
    expect([bench.waiting(1), bench.free(1)]).toEqual([2, 0]);
    bench.finish(1, 2);
    bench.finish(1, 3);
    // 1 was not there any more, and is given out anew.
    expect([bench.waiting(1), bench.free(1)]).toEqual([1, 0]);
    bench.finish(1, 4);
    bench.finish(1, 5);
    expect([bench.waiting(1), bench.free(1)]).toEqual([0, 1_000]);
  });
});
