import {
  asObjectId,
  asTaskId,
  limits,
  type ReplyOf,
  type SessionId,
  type UserAttributes,
} from "@rain/protocol";
import { encode } from "@rain/protocol/codec";
import { beforeEach, describe, expect, it } from "vitest";
import { Curves } from "../../packages/server/src/core/curves.ts";
import type { Task } from "../../packages/server/src/core/state.ts";
import { Bench, points, task, tasks } from "./core-bench.ts";

/** The table of results, and the metrics in it. */

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
  bench.join(100, 1_000);
});

type Page = ReplyOf<"results">;

/** A client that reads the table: it asks from where it is, and keeps the last row of each task. */
class Table {
  cursor = 0;
  instance: string | undefined;
  readonly rows: Map<number, Page["rows"][number]> = new Map();
  readonly #session: SessionId;
  readonly #max: number;
  constructor(session: SessionId, max = 1_000) {
    this.#session = session;
    this.#max = max;
  }
  page(): Page {
    const { cursor: since, instance } = this;
    const page = bench.ask("results", { session: this.#session, since, instance, max: this.#max });
    this.cursor = page.cursor;
    this.instance = page.instance;
    for (const row of page.rows) this.rows.set(row.task, row);
    return page;
  }
  /** Numbers of the tasks that changed. */
  read(): number[] {
    const page = this.page();
    const changed = page.rows.map((row) => row.task);
    return page.more ? [...changed, ...this.read()] : changed;
  }
}

const batch = (from: number, ...values: number[]): { from: number; points: ReturnType<typeof points> } => ({
  from,
  points: points("loss", ...values),
});
function tell(
  session: SessionId,
  id: number,
  from: number,
  values: number[],
  params?: UserAttributes,
  attempt = 1,
): void {
  const rest = params === undefined ? {} : { params };
  bench.says({ type: "metrics", session, task: asTaskId(id), attempt, ...batch(from, ...values), ...rest });
}
const curve = (session: SessionId, id: number): number[] =>
  bench.ask("metrics", { session, task: asTaskId(id) }).points.map(({ value }) => value);

describe("results", () => {
  it("come as they change, each change once", () => {
    const session = bench.open();
    bench.submit(session, tasks(3));
    const table = new Table(session);
    expect(table.read()).toEqual([0, 1, 2]);
    expect(table.read()).toEqual([]);
    bench.started(session, 1);
    bench.finish(session, 2);
    bench.finish(session, 1);
    expect(table.read()).toEqual([2, 1]);
    expect(table.rows.get(1)).toMatchObject({ state: "finished", attempt: 1, governor: "g100" });
    expect(table.rows.get(1)?.outputs).toEqual([
      { object: 1, label: "out", kind: "blob", state: "finished", size: 3 },
    ]);
    bench.ask("unkeep", { session, objects: [asObjectId(1)] });
    expect(table.read()).toEqual([1]);
    expect(table.rows.get(1)?.outputs[0]?.state).toBe("removed");
    expect(table.read()).toEqual([]);
  });

  it("say which task took the place of which", () => {
    const session = bench.open();
    bench.submit(session, tasks(2));
    bench.fail(session, 0);
    const table = new Table(session);
    table.read();
    bench.submit(session, [task(2, { replaces: asTaskId(0), name: "again", user: { trial: { index: 0 } } })]);
    const { rows, counts } = table.page();
    expect(rows.map((row) => [row.task, row.replaces, row.replacedBy])).toEqual([
      [0, undefined, 2],
      [2, 0, undefined],
    ]);
    expect(rows[1]).toMatchObject({ name: "again", user: { trial: { index: 0 } } });
    expect(counts).toMatchObject({ failed: 0, assigned: 2 });
  });

  it("come in pages without a gap, whatever changes between them", () => {
    const session = bench.open();
    bench.submit(session, tasks(25));
    const table = new Table(session, 10);
    expect(table.page()).toMatchObject({ more: true });
    bench.finish(session, 3);
    bench.finish(session, 20);
    expect(table.page().rows.map((row) => row.task)).toEqual([10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
    expect(table.read()).toEqual([21, 22, 23, 24, 3, 20]);
    expect(table.rows.size).toBe(25);
    expect(table.read()).toEqual([]);
  });

  it("start anew for a cursor of another process of the server", () => {
    const session = bench.open();
    bench.submit(session, tasks(3));
    const table = new Table(session);
    table.read();
    bench.restart("records");
    expect(table.instance).toBe("instance-1");
    expect(table.read().toSorted((a, b) => a - b)).toEqual([0, 1, 2]);
    expect(table.instance).toBe("instance-2");
    expect(table.read()).toEqual([]);
    expect(bench.ask("results", { session, since: table.cursor, max: 10 }).rows).toHaveLength(3);
  });

  it("fit a message, however long what they say is", { timeout: 60_000 }, () => {
    const session = bench.open();
    const user = { text: "☂".repeat(16_000) };
    bench.submit(session, tasks(300, 0, { user }));
    for (let id = 0; id < 300; id++) bench.fail(session, id, { stderr: "e".repeat(8_192) });
    const table = new Table(session);
    let pages = 0;
    for (let more = true; more; pages++) {
      const page = table.page();
      more = page.more;
      expect(encode({ type: "reply", req: 1, ok: page }).length).toBeLessThan(limits.messageBytes);
    }
    expect(pages).toBeGreaterThan(4);
    expect(table.rows.size).toBe(300);
    expect(table.rows.get(7)?.failure?.stderr).toBe("e".repeat(400));
  });

  it("cost what has changed, not what is there", { timeout: 60_000 }, () => {
    const session = bench.open();
    const COUNT = 4_000;
    bench.submit(session, tasks(COUNT));
    const table = new Table(session);
    expect(table.read()).toHaveLength(COUNT);
    // Many more changes than tasks: what is out of date is swept, and the order stays.
    for (let round = 0; round < 5; round++) {
      for (let id = 0; id < COUNT; id += 2) bench.core.kernel.show(theTask(session, id));
    }
    const changed = table.read();
    expect(changed).toHaveLength(COUNT / 2);
    expect(changed).toEqual(changed.toSorted((a, b) => a - b));
    bench.core.kernel.show(theTask(session, 5));
    const { rows } = bench.core.kernel.openSession(bench.core.durable.session(session));
    expect([...rows.after(rows.revision - 1)]).toEqual([5]);
  });
});

function theTask(session: SessionId, id: number): Task {
  const found = bench.core.durable.session(session).tasks.get(asTaskId(id));
  if (!found) throw new Error(`no task ${id}`);
  return found;
}

describe("metrics", () => {
  it("are taken once, however often they are told", () => {
    const session = bench.open();
    bench.submit(session, tasks(1));
    tell(session, 0, 0, [3, 2]);
    tell(session, 0, 0, [3, 2]);
    tell(session, 0, 1, [2, 1]);
    expect(curve(session, 0)).toEqual([3, 2, 1]);
    expect(bench.records.filter(({ type }) => type === "metrics")).toHaveLength(2);
    bench.finish(session, 0, { metrics: batch(2, 1, 0.5) });
    expect(curve(session, 0)).toEqual([3, 2, 1, 0.5]);
  });

  it("are of the current attempt alone, and start anew with the next one", () => {
    const session = bench.open();
    bench.submit(session, [task(0, { retries: 1 })]);
    tell(session, 0, 0, [9], undefined, 2);
    expect(curve(session, 0)).toEqual([]);
    tell(session, 0, 0, [3, 2]);
    bench.fail(session, 0, { metrics: batch(2, 1) });
    expect(bench.state(session, 0)).toBe("assigned");
    expect(curve(session, 0)).toEqual([]);
    tell(session, 0, 2, [7]);
    expect(curve(session, 0)).toEqual([]);
    tell(session, 0, 0, [8], undefined, 2);
    bench.fail(session, 0, { attempt: 2, metrics: batch(1, 6) });
    expect(curve(session, 0)).toEqual([8, 6]);
    tell(session, 0, 2, [5], undefined, 2);
    expect(curve(session, 0)).toEqual([8, 6]);
  });

  it("are summed up in the row while the task runs, and come from its governor when it has ended", () => {
    const session = bench.open();
    bench.submit(session, tasks(2));
    const table = new Table(session);
    table.read();
    tell(session, 0, 0, [3, NaN, 1], { lr: 0.5 });
    expect(table.read()).toEqual([0]);
    const summary = { last: 1, min: 1, max: 3, count: 3, step: 2 };
    expect(table.rows.get(0)).toMatchObject({ metrics: { loss: summary }, info: { params: { lr: 0.5 } } });
    tell(session, 0, 0, [3, NaN, 1], { lr: 0.5 });
    expect(table.read()).toEqual([]);
    const info = { metrics: { loss: { ...summary, count: 70_000 } }, debug: "a note" };
    bench.finish(session, 0, { info });
    table.read();
    expect(table.rows.get(0)?.metrics).toBeUndefined();
    expect(table.rows.get(0)?.info).toEqual({ metrics: info.metrics, params: { lr: 0.5 } });
    tell(session, 1, 0, [NaN]);
    bench.ask("cancel", { session });
    table.read();
    expect(table.rows.get(1)?.metrics).toEqual({
      loss: { last: NaN, min: NaN, max: NaN, count: 1, step: 0 },
    });
  });

  it.each(["records", "snapshot"] as const)("outlive the server: from %s", (over) => {
    const session = bench.open();
    bench.submit(session, tasks(2));
    tell(session, 0, 0, [3, NaN, -Infinity], { lr: 0.5 });
    tell(session, 1, 0, [1, 2]);
    bench.finish(session, 1, { metrics: batch(2, 3) });
    const before = [0, 1].map((id) => bench.ask("metrics", { session, task: asTaskId(id) }));
    expect(before[1]?.points).toHaveLength(3);
    bench.restart(over);
    expect([0, 1].map((id) => bench.ask("metrics", { session, task: asTaskId(id) }))).toEqual(before);
    const table = new Table(session);
    table.read();
    expect(table.rows.get(0)?.metrics?.["loss"]).toMatchObject({ last: -Infinity, max: 3, count: 3 });
  });

  it("have limits: points, names, and names that no message can have", { timeout: 60_000 }, () => {
    const session = bench.open();
    bench.submit(session, tasks(2));
    const many = Array.from({ length: 1_000 }, (_, at) => at);
    for (let from = 0; from < limits.metricPoints + 2_000; from += 1_000) tell(session, 0, from, many);
    expect(curve(session, 0)).toHaveLength(limits.metricPoints);
    const names = ["__proto__", ...Array.from({ length: 100 }, (_, at) => `m${at}`)];
    const list = names.map((name) => ({ name, value: 1, at: 0 }));
    bench.says({ type: "metrics", session, task: asTaskId(1), attempt: 1, from: 0, points: list });
    const table = new Table(session);
    table.read();
    expect(Object.keys(table.rows.get(1)?.metrics ?? {})).toEqual(names.slice(1, 1 + limits.metricNames));
  });

  it("are thinned out where a message cannot hold them, but keep their ends", () => {
    const curves = new Curves(1);
    const name = "☂".repeat(256);
    const list = [...points(name, ...Array.from({ length: 9_999 }, (_, at) => at)), ...points("b", 1, 2)];
    curves.add({ from: 0, points: list });
    const told = curves.points();
    expect(encode({ points: told }).length).toBeLessThan(limits.messageBytes);
    const [long, short] = [name, "b"].map((each) => told.filter((point) => point.name === each));
    expect(long?.length).toBeGreaterThan(1_000);
    expect([long?.[0]?.value, long?.at(-1)?.value]).toEqual([0, 9_998]);
    expect(short?.at(-1)?.value).toBe(2);
  });
});
