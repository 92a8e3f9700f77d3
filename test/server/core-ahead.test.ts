import {
  asTaskId,
  type AttemptRef,
  type GovernorHello,
  type Report,
  type ServerToGovernor,
  type SessionId,
  type TaskSpec,
} from "@rain/protocol";
import type { ServerEffect } from "@rain/server/core";
import { beforeEach, describe, expect, it } from "vitest";
import { CoreKit, cpus, reloaded, requestOf, taskSpec } from "./core-kit.ts";

/** Work that governors are given before they have room for it, and how they give it back. */

class Bench extends CoreKit {
  readonly session: SessionId;
  #task = 0;

  constructor() {
    super({ aheadMs: 100 });
    this.session = this.open({ detached: false });
  }
  join(
    connection: number,
    traits: Partial<GovernorHello> = {},
    attempts: [task: number, running: boolean][] = [],
  ): ServerEffect[] {
    const has = attempts.map(([task, running]) => ({ ...this.ref(task), running }));
    return this.register(connection, { ...cpus(2), ahead: true, ...traits }, has);
  }
  add(count: number, fields: Partial<TaskSpec> = {}): ServerEffect[] {
    const tasks = Array.from({ length: count }, () => taskSpec(this.#task++, fields));
    return this.submit(this.session, tasks);
  }
  ref(task: number, attempt = 1): AttemptRef {
    return { session: this.session, task: asTaskId(task), attempt };
  }
  finish(connection: number, task: number, seconds = 0.002, attempt = 1): ServerEffect[] {
    const report: Report = {
      type: "finish",
      ...this.ref(task, attempt),
      outputs: [],
      info: { durationS: seconds },
    };
    return this.says(report, connection);
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
    return this.core.durable.sessions.get(this.session)?.tasks.get(asTaskId(task));
  }
}
let bench: Bench;
beforeEach(() => (bench = new Bench()));

const assigned = (effects: readonly ServerEffect[]): number[] =>
  effects.flatMap((effect) => (effect.type === "assign" ? [effect.task] : []));
const retracted = (effects: readonly ServerEffect[]): number[] =>
  effects
    .flatMap((effect) => (effect.type === "send" ? [effect.message as ServerToGovernor] : []))
    .flatMap((message) => (message.type === "retract" ? [message.task] : []));

describe("work ahead", () => {
  it("comes once the first run was short, and in order", () => {
    bench.join(1);
    expect(assigned(bench.add(10))).toEqual([0, 1]);
    expect(assigned(bench.finish(1, 0))).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
    expect([bench.waiting(1), bench.free(1)]).toEqual([7, 0]);
    bench.finish(1, 1);
    expect([bench.waiting(1), bench.free(1)]).toEqual([6, 0]);
    for (const task of [2, 3, 4, 5, 6, 7, 8, 9]) bench.finish(1, task);
    expect([bench.waiting(1), bench.free(1)]).toEqual([0, 2_000]);
  });

  it("is bounded, and does not come for long runs, without knowledge of runs, or to older governors", () => {
    bench.join(1);
    bench.add(500);
    // Of runs of 2 ms 50 for each of two places, and one for the place that is free.
    expect(assigned(bench.finish(1, 0, 0.002)).length).toBe(101);
    expect(bench.waiting(1)).toBe(100);

    bench = new Bench();
    bench.join(1);
    bench.add(10);
    expect(assigned(bench.finish(1, 0, 0.5))).toEqual([2]);

    bench = new Bench();
    bench.join(1, { ahead: false });
    bench.add(10);
    expect(assigned(bench.finish(1, 0))).toEqual([2]);
  });

  it("does not come between others and their turn", () => {
    bench.join(1);
    bench.add(2);
    bench.add(1, { ...requestOf(2) });
    bench.add(5);
    // The large task came first: what is small waits like it, where it has no room.
    expect(assigned(bench.finish(1, 0))).toEqual([3]);
    expect(bench.waiting(1)).toBe(0);
  });

  it("goes back when a task of more priority waits", () => {
    bench.join(1);
    bench.add(10);
    bench.finish(1, 0);
    const made = bench.add(1, { priority: 1, ...requestOf(2) });
    expect(retracted(made)).toEqual([3, 4, 5, 6, 7, 8, 9]);
    expect(retracted(bench.add(1))).toEqual([]); // asked once
  });

  it("goes to another governor that has room, when its own lets go of it", () => {
    bench.join(1);
    bench.add(10);
    bench.finish(1, 0);
    expect(retracted(bench.join(2))).toEqual([9, 8]);
    // One of them had begun meanwhile.
    expect(assigned(bench.says({ type: "stopped", ...bench.ref(9) }, 1))).toEqual([9]);
    expect(bench.finish(1, 8).some((effect) => effect.type === "send")).toBe(true);
    expect([...bench.core.durable.session(bench.session).settled]).toEqual([0, 8]);
  });

  it("goes back when its governor is drained", () => {
    bench.join(1);
    bench.add(5);
    bench.finish(1, 0);
    const made = bench.request({ type: "governor.drain", governor: 1 });
    expect(retracted(made)).toEqual([3, 4]);
  });

  it("has not crashed when its governor is lost; what had room has", () => {
    bench.join(1);
    bench.add(6);
    bench.finish(1, 0);
    // 1 and 2 have room; 3 to 5 wait. One of those was in fact begun instead.
    bench.says({ type: "started", ...bench.ref(4), at: 1 }, 1);
    bench.input({ type: "governor.gone", connection: 1 });
    bench.join(1, { incarnation: "incarnation-2" });
    const crashes = [1, 2, 3, 4, 5].map((task) => bench.task(task)?.crashes);
    expect(crashes.filter((count) => count === 1).length).toBe(2);
    expect(crashes[3]).toBe(1);
  });

  it("has no room before what runs, when its governor comes back to a server that forgot what runs", () => {
    bench.join(1);
    bench.add(4);
    bench.restart(reloaded(bench.core.durable));
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
    bench.add(6);
    bench.finish(1, 0);
    bench.restart(reloaded(bench.core.durable));
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
