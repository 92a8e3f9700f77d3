import {
  asObjectId,
  asSessionId,
  asTaskId,
  limits,
  type Json,
  type ReplyOf,
  type TaskId,
} from "@rain/protocol";
import { beforeEach, describe, expect, it } from "vitest";
import { Bench, task, tasks } from "./core-bench.ts";
import { digestOf } from "./core-kit.ts";

/** What the server knows of runs: sessions by name, limits of a session, tasks in the place of others, history, datastores. */

let bench: Bench;
beforeEach(() => (bench = new Bench()));

describe.each(["records", "snapshot"] as const)("over a restart from %s", (over) => {
  it("a session keeps what it was opened with", () => {
    const user = { run: { v: 1, words: ["--lr", "[0.1,0.2]"] } };
    const asked = { unique: true, parallelism: 2, maxFails: 3, created: 17, user, name: "digits-1" };
    const session = bench.open(asked);
    bench.restart(over);
    const { view, user: kept } = bench.ask("session.get", { name: "digits-1" });
    expect(view).toMatchObject({ session, unique: true, parallelism: 2, maxFails: 3, created: 17 });
    expect(kept).toEqual(user);
    expect(bench.ask("session.list", {}).sessions).toEqual([view]);
    expect(bench.refusal("session.open", { key: "other-key", ...open, ...asked })).toMatch(/^name-taken/);
  });

  it("a task that was replaced stays so", () => {
    bench.join();
    const session = bench.open({ maxFails: 2 });
    bench.submit(session, tasks(2));
    bench.fail(session, 0);
    bench.submit(session, [task(2, { replaces: asTaskId(0) })]);
    bench.restart(over);
    expect(bench.core.durable.session(session).failed).toBe(0);
    expect(bench.core.durable.session(session).tasks.get(asTaskId(0))?.replacedBy).toBe(2);
  });

  it("history and datastores stay, and no version comes twice", () => {
    bench.ask("session.close", { session: bench.open({ name: "a", created: 5 }) });
    const first = { key: "datastore-1", name: "digits", kind: "blob", size: 3, sha256: digestOf(1) } as const;
    expect(bench.ask("datastore.create", first)).toEqual({ version: 1 });
    expect(bench.ask("datastore.create", { ...first, key: "datastore-2" })).toEqual({ version: 2 });
    bench.ask("datastore.delete", { name: "digits", version: 2 });
    bench.restart(over);
    expect(bench.ask("history", { max: 10 }).items).toMatchObject([{ name: "a", created: 5 }]);
    const { key: _key, ...version } = first;
    expect(bench.ask("datastore.list", {}).datastores).toEqual([{ ...version, version: 1 }]);
    expect(bench.ask("datastore.create", { ...first, key: "datastore-2" })).toEqual({ version: 2 });
    expect(bench.ask("datastore.create", { ...first, key: "datastore-3" })).toEqual({ version: 3 });
  });
});

const open = { onError: "continue", detached: true } as const;

describe("a session with a name of its own", () => {
  it("is found by it until it is closed, when another may have the name", () => {
    const session = bench.open({ name: "run-1", unique: true });
    bench.open({ name: "run-1" });
    expect(bench.ask("session.get", { name: "run-1" }).view.session).toBe(session);
    const again = bench.refusal("session.open", { key: "key-2", name: "run-1", unique: true, ...open });
    expect(again).toBe(
      `name-taken: the name "run-1" is that of session ${session}, which is not closed; take another name, or close that session first`,
    );
    bench.ask("session.close", { session });
    expect(bench.refusal("session.get", { name: "run-1" })).toMatch(/^unknown-session: .*rain sessions$/);
    expect(bench.refusal("session.get", { session })).toMatch(/^session-closed/);
    expect(bench.open({ name: "run-1", unique: true })).toBe(3);
  });
  it("is opened once, however often it is asked for", () => {
    const asked = { key: "the-same-key", name: "run-1", unique: true, ...open };
    expect(bench.ask("session.open", asked)).toEqual(bench.ask("session.open", asked));
  });
  it("must be asked for by something", () => {
    expect(bench.refusal("session.get", {})).toMatch(/^bad-request/);
  });
});

describe("a task in the place of another", () => {
  it("counts instead of it", () => {
    bench.join();
    const session = bench.open();
    bench.submit(session, tasks(2));
    bench.fail(session, 0);
    bench.finish(session, 1);
    expect(bench.counts(session)).toBe("finished 1, failed 1");
    bench.submit(session, [task(2, { replaces: asTaskId(0) })]);
    expect(bench.counts(session)).toBe("assigned 1, finished 1");
    bench.finish(session, 2);
    expect(bench.counts(session)).toBe("finished 2");
  });
  it("needs one that has settled, is there, and was not replaced before", () => {
    bench.join(100, 1);
    const session = bench.open();
    bench.submit(session, tasks(2));
    const refusal = (...old: number[]): string => {
      const specs = old.map((id, at) => task(10 + at, { replaces: asTaskId(id) }));
      return bench.refusal("submit", {
        session,
        key: "key-r",
        part: 0,
        last: true,
        tasks: specs,
        constants: [],
      });
    };
    expect(refusal(9)).toMatch(/^bad-request: .*replaces task 9, which session 1 does not have/);
    expect(refusal(0)).toMatch(/has not settled; cancel it first/);
    bench.finish(session, 0);
    expect(refusal(0, 0)).toMatch(/as another task of this submit does/);
    bench.submit(session, [task(2, { replaces: asTaskId(0) })]);
    expect(refusal(0)).toMatch(/which task 2 has replaced already/);
  });
});

describe("parallelism", () => {
  it("is how many tasks of the session hold resources at once, and keeps nobody else waiting", () => {
    bench.join(100, 8);
    const limited = bench.open({ parallelism: 2 });
    const free = bench.open();
    bench.submit(limited, [...tasks(3), task(3, { request: { cpus: 2, gpus: 0, memory: 0, named: {} } })]);
    bench.submit(free, tasks(3));
    expect(bench.counts(limited)).toBe("ready 2, assigned 2");
    expect(bench.counts(free)).toBe("assigned 3");
    bench.finish(limited, 0);
    expect(bench.counts(limited)).toBe("ready 1, assigned 2, finished 1");
    bench.finish(limited, 1);
    bench.finish(limited, 2);
    expect(bench.counts(limited)).toBe("assigned 1, finished 3");
  });
  it("counts what still runs of cancelled tasks, until it has stopped", () => {
    bench.join();
    const session = bench.open({ parallelism: 1 });
    bench.submit(session, tasks(2));
    bench.ask("cancel", { session, tasks: [asTaskId(0)] });
    expect(bench.counts(session)).toBe("ready 1, cancelled 1");
    bench.says({ type: "stopped", session, task: asTaskId(0), attempt: 1 });
    expect(bench.counts(session)).toBe("assigned 1, cancelled 1");
  });
  it("gives back what was on a lost governor", () => {
    bench.join(100, 1);
    const session = bench.open({ parallelism: 1 });
    bench.submit(session, tasks(2));
    bench.says({ type: "leaving" });
    bench.input({ type: "governor.gone", connection: 100 });
    bench.join(200, 4);
    expect(bench.counts(session)).toBe("ready 1, assigned 1");
  });
  it("does not hold a task back for another one that fits nowhere", () => {
    bench.join(100, 2);
    const session = bench.open({ parallelism: 1 });
    const large = { cpus: 64, gpus: 0, memory: 0, named: {} };
    bench.submit(session, [task(0, { request: large, priority: 9 }), task(1)]);
    expect([bench.state(session, 0), bench.state(session, 1)]).toEqual(["ready", "assigned"]);
  });
  it("is what explain says of a task that it keeps waiting", () => {
    bench.join();
    const session = bench.open({ parallelism: 1 });
    bench.submit(session, tasks(3));
    const { lines } = bench.ask("explain", { session, task: asTaskId(1) });
    expect(lines[0]).toBe(
      `session ${session} may have 1 tasks running at once (its parallelism), and has 1: it waits for one of them to end; 2 ready tasks of it wait alike`,
    );
  });
  it("leaves no queue behind when the session closes", () => {
    const before = bench.core.kernel.live.classes.size;
    const session = bench.open({ parallelism: 1 });
    bench.submit(session, tasks(3));
    bench.ask("session.close", { session });
    expect(bench.core.kernel.live.classes.size).toBe(before);
  });
});

describe("maxFails", () => {
  it("cancels what is open when so many tasks have failed for good", () => {
    bench.join(100, 2);
    const session = bench.open({ maxFails: 2 });
    bench.submit(session, [task(0, { retries: 1 }), ...tasks(5, 1)]);
    bench.fail(session, 0);
    bench.fail(session, 1);
    expect(bench.counts(session)).toBe("ready 3, assigned 2, failed 1");
    bench.fail(session, 0, { attempt: 2 });
    expect(bench.counts(session)).toBe("failed 2, cancelled 4");
    expect(bench.ask("explain", { session, task: asTaskId(4) }).lines[0]).toContain(
      "when 2 have failed (maxFails)",
    );
    expect(bench.ask("session.get", { session }).view.state).toBe("open");
  });
  it("does not count a failure in whose place another task is", () => {
    bench.join(100, 8);
    const session = bench.open({ maxFails: 2 });
    bench.submit(session, tasks(3));
    bench.fail(session, 0);
    bench.submit(session, [task(3, { replaces: asTaskId(0) })]);
    bench.fail(session, 1);
    expect(bench.counts(session)).toBe("assigned 2, failed 1");
    bench.fail(session, 3);
    expect(bench.counts(session)).toBe("failed 2, cancelled 1");
  });
  it.each(["records", "snapshot"] as const)(
    "counts from where the session was taken up again, also after a restart over %s",
    (over) => {
      bench.join(100, 8);
      const session = bench.open({ maxFails: 2 });
      bench.submit(session, tasks(4));
      bench.fail(session, 0);
      bench.fail(session, 1);
      expect(bench.counts(session)).toBe("failed 2, cancelled 2");
      const again = (id: number, old: number) => task(id, { replaces: asTaskId(old) });
      bench.submit(session, [again(4, 2), again(5, 3), task(6), task(7)]);
      bench.restart(over);
      bench.join(100, 8);
      bench.fail(session, 4, { attempt: 2 });
      expect(bench.counts(session)).toBe("assigned 3, failed 3");
      // One that is excused and has another in its place counts neither way; while the session goes on, all others do.
      bench.submit(session, [again(8, 0)]);
      expect(bench.counts(session)).toBe("assigned 4, failed 2");
      bench.fail(session, 5, { attempt: 2 });
      expect(bench.counts(session)).toBe("failed 3, cancelled 3");
    },
  );
});

describe("history", () => {
  it("has closed sessions, the last first, with what became of their tasks", () => {
    bench.join(100, 1);
    const first = bench.open({ name: "first", created: 17 });
    bench.submit(first, tasks(3));
    bench.fail(first, 0);
    bench.submit(first, [task(3, { replaces: asTaskId(0) })]);
    bench.finish(first, 1);
    bench.ask("session.close", { session: first });
    bench.ask("session.close", { session: bench.open({ name: "second" }) });
    const { items } = bench.ask("history", { max: 10 });
    expect(items.map(({ name }) => name)).toEqual(["second", "first"]);
    expect(items[1]).toMatchObject({
      session: first,
      created: 17,
      counts: { finished: 1, failed: 0, cancelled: 2 },
    });
    expect(bench.ask("history", { max: 1 }).items.map(({ name }) => name)).toEqual(["second"]);
  });
  it("keeps the attributes but their long texts", () => {
    const long = "x".repeat(1_025);
    const run = { v: 1, words: ["a", long], config: long, deep: { text: "x".repeat(1_024) } };
    bench.ask("session.close", { session: bench.open({ user: { run, long } }) });
    const [item] = bench.ask("history", { max: 1 }).items;
    expect(item?.user).toEqual({ run: { v: 1, words: ["a"], deep: run.deep } });
  });
  it("leaves out long lists where the rest would be too long", () => {
    const words = Array.from({ length: 5_000 }, (_, at) => `--word-${at}`);
    const user = { run: { v: 1, kind: "sweep", description: "d", words, swept: ["lr"] } };
    bench.ask("session.close", { session: bench.open({ user }) });
    const [item] = bench.ask("history", { max: 1 }).items;
    expect(item?.user).toEqual({ run: { v: 1, kind: "sweep", description: "d", swept: ["lr"] } });
  });
  it("keeps no attributes that are still long without them", () => {
    const many: Json = Object.fromEntries(Array.from({ length: 10_000 }, (_, at) => [`key ${at}`, at]));
    bench.ask("session.close", { session: bench.open({ user: { many } }) });
    expect(bench.ask("history", { max: 1 }).items[0]?.user).toBeUndefined();
  });
  it("has a limit: the oldest go, and one reply holds what a message can", { timeout: 60_000 }, () => {
    const user = { text: Array.from({ length: 15 }, () => "x".repeat(1_000)) };
    for (let at = 0; at < limits.historyItems + 5; at++) {
      bench.core.durable.apply({
        type: "session.opened",
        session: bench.core.durable.nextSession,
        key: `k${at}`,
        name: `${at}`,
        user,
        ...open,
      });
      bench.core.durable.apply({
        type: "session.closed",
        session: asSessionId(bench.core.durable.nextSession - 1),
      });
    }
    expect(bench.core.durable.history.length).toBe(limits.historyItems);
    expect(bench.core.durable.history[0]?.name).toBe("5");
    const { items } = bench.ask("history", { max: limits.historyItems });
    expect(items[0]?.name).toBe(`${limits.historyItems + 4}`);
    expect(items.length).toBeGreaterThan(20);
    expect(items.length).toBeLessThan(limits.historyItems);
  });
});

describe("datastores", () => {
  const create = { key: "datastore-1", name: "digits", kind: "blob", size: 3, sha256: digestOf(1) } as const;
  const constant = {
    id: asObjectId(0),
    kind: "blob",
    label: "in",
    contentType: "",
    keep: false,
    size: 3,
  } as const;
  const blobs = (): string[] => [...bench.core.kernel.live.blobs.keys()];

  it("are made once for a key, and their bytes stay as long as something names them", () => {
    bench.ask("datastore.create", create);
    bench.ask("datastore.create", create);
    expect(bench.ask("datastore.list", {}).datastores.map(({ version }) => version)).toEqual([1]);
    const session = bench.open();
    bench.submit(session, [], [{ ...constant, sha256: create.sha256 }]);
    bench.ask("session.close", { session });
    expect(blobs()).toEqual([create.sha256]);
    bench.restart("snapshot");
    expect(blobs()).toEqual([create.sha256]);
    bench.ask("datastore.create", { ...create, key: "datastore-2", name: "other" });
    expect(bench.ask("datastore.delete", { name: "digits" })).toEqual({ removed: 1 });
    expect(blobs()).toEqual([create.sha256]);
    const effects = bench.input({
      type: "client.request",
      connection: 1,
      request: { type: "datastore.delete", req: 1, name: "other" },
    });
    expect(effects).toContainEqual({ type: "blob.remove", sha256: create.sha256 });
    expect(blobs()).toEqual([]);
  });
  it("are listed page by page, by name and version", () => {
    for (const name of ["b", "a"])
      for (const key of [1, 2, 3])
        bench.ask("datastore.create", { ...create, name, key: `key-${name}-${key}` });
    const places: string[] = [];
    for (let more: boolean | undefined = true, after; more === true;) {
      const page: ReplyOf<"datastore.list"> = bench.ask("datastore.list", { max: 4, after });
      expect(page.datastores.length).toBeLessThanOrEqual(4);
      places.push(...page.datastores.map(({ name, version }) => `${name}${version}`));
      after = ((last) => last && { name: last.name, version: last.version })(page.datastores.at(-1));
      more = page.more;
    }
    expect(places).toEqual(["a1", "a2", "a3", "b1", "b2", "b3"]);
    expect(bench.ask("datastore.list", {})).toMatchObject({ datastores: { length: 6 } });
    expect(bench.ask("datastore.list", { max: 6 }).more).toBeUndefined();
  });
  it("are deleted by version or whole; a second time is no error, an unknown name is", () => {
    for (const key of ["key-1", "key-2", "key-3"]) bench.ask("datastore.create", { ...create, key });
    expect(bench.ask("datastore.delete", { name: "digits", version: 2 })).toEqual({ removed: 1 });
    expect(bench.ask("datastore.delete", { name: "digits", version: 2 })).toEqual({ removed: 0 });
    expect(bench.ask("datastore.delete", { name: "digits" })).toEqual({ removed: 2 });
    expect(bench.ask("datastore.delete", { name: "digits" })).toEqual({ removed: 0 });
    expect(bench.refusal("datastore.delete", { name: "digit" })).toBe(
      "unknown-datastore: there is no datastore digit; see: rain datastore list",
    );
    expect(bench.refusal("datastore.delete", { name: "digits", version: 4 })).toMatch(
      /^unknown-datastore: .*no version 4/,
    );
  });
});

describe("the settled log", () => {
  it("says what maxFails cancelled, by number, and the same after a restart", () => {
    bench.join(100, 8);
    const session = bench.open({ maxFails: 1 });
    bench.submit(session, tasks(4));
    bench.fail(session, 2);
    const settled = (): TaskId[] => bench.ask("next", { session, from: 0 }).items.map((item) => item.task);
    expect(settled()).toEqual([2, 0, 1, 3]);
    bench.restart("records");
    expect(settled()).toEqual([2, 0, 1, 3]);
  });
});
