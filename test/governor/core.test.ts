import { describe, expect, it } from "vitest";
import {
  asObjectId,
  RainError,
  toWireError,
  type GovernorMessage,
  type ServerToGovernor,
} from "@rain/protocol";
import { GovernorCore, type GovernorEffect, type GovernorInput, type RunOutcome } from "@rain/governor/core";
import { assignment, config, digestOf, refOf, registered, session } from "./core.world.ts";

/** A core with its clock, and what it asked for since the last look. */
class Bench {
  readonly core: GovernorCore;
  now = 0;
  wakeAt: number | undefined;
  hasMore = false;
  effects: GovernorEffect[] = [];

  constructor(core = new GovernorCore(config)) {
    this.core = core;
  }

  give(input: GovernorInput): this {
    const step = this.core.handle(input, this.now);
    this.effects.push(...step.effects);
    this.wakeAt = step.wakeAt;
    this.hasMore = step.hasMore;
    return this;
  }
  hear(message: ServerToGovernor): this {
    return this.give({ type: "message", message });
  }
  tickAt(now: number, loopDelayMs = 0): this {
    this.now = now;
    return this.give({ type: "tick", loopDelayMs });
  }
  link(epoch = 1): this {
    return this.give({ type: "link.up" }).hear(registered(epoch));
  }
  end(task: number, outcome: RunOutcome = { ok: true, outputs: [], info: {} }): this {
    return this.give({ type: "run.ended", ref: refOf(task), outcome });
  }
  take(): GovernorEffect[] {
    return this.effects.splice(0);
  }
  said(): GovernorMessage[] {
    return this.take().flatMap((effect) => (effect.type === "send" ? [effect.message] : []));
  }
  ran(): number[] {
    return this.take().flatMap((effect) => (effect.type === "run" ? [effect.ref.task] : []));
  }
}
const linked = (): Bench => {
  const bench = new Bench().link();
  bench.take();
  return bench;
};
const output = (object: number, digest: number) => ({
  object: asObjectId(object),
  size: 1,
  sha256: digestOf(digest),
  contentType: "",
});

describe("the lease", () => {
  const policy = (onLost: "kill" | "finish"): Bench => {
    const bench = new Bench(new GovernorCore({ ...config, onLost })).link();
    bench.hear(assignment(1, { cpus: 4 })).hear(assignment(2));
    bench.give({ type: "run.started", ref: refOf(1), at: 1 }).tickAt(20); // then the server is told of it
    bench.take();
    return bench;
  };
  const kinds = (bench: Bench): string[] => bench.take().map(({ type }) => type);

  it("cases 14 and 16: without an answer for 0.8 of it, `kill` ends programs before the server gives them away", () => {
    const bench = policy("kill");
    for (const at of [1_000, 2_000, 3_000]) bench.tickAt(at);
    expect(kinds(bench)).toEqual(["send", "send", "send"]); // heartbeats
    bench.tickAt(4_000);
    expect(bench.take()).toMatchObject([
      { type: "log" },
      { type: "reconnect" },
      { type: "terminate", ref: refOf(1), force: false },
    ]);
    expect(bench.core.attempts().map(({ ref }) => Number(ref.task))).toEqual([1]); // the queued one is gone
    expect(bench.wakeAt).toBe(4_500); // a tenth of the lease after TERM comes KILL
    bench.tickAt(4_500);
    expect(bench.take()).toMatchObject([{ type: "terminate", force: true }]);
    // Connected again, it says nothing before the program is dead, and then does not know of it.
    bench.give({ type: "link.down" }).give({ type: "link.up" });
    expect(bench.said()).toEqual([]);
    bench.end(1, { ok: false, failure: { reason: "signal", message: "killed" }, info: {} });
    expect(bench.said()).toMatchObject([{ type: "register", attempts: [] }]);
    bench.hear(registered(2));
    expect(bench.said()).toMatchObject([{ type: "holding" }]);
    expect(bench.core.free()).toMatchObject({ cpus: 4 });
  });

  it("cases 14 and 16: `finish` lets them go on, and makes a new connection", () => {
    const bench = policy("finish");
    for (const at of [1_000, 2_000, 3_000, 4_000]) bench.tickAt(at);
    expect(kinds(bench)).toEqual(["send", "send", "send", "log", "reconnect"]);
    bench.give({ type: "link.down" }).give({ type: "link.up" });
    expect(bench.said()).toMatchObject([
      { type: "register", attempts: [{ task: 1, running: true }, { task: 2 }] },
    ]);
  });

  it("case 15: an answer renews it from the time of the question", () => {
    const bench = policy("kill");
    for (const at of [1_000, 2_000, 3_000]) bench.tickAt(at);
    bench.now = 3_900;
    bench.give({ type: "server.heard", since: 2_000 });
    bench.tickAt(4_000).tickAt(5_900);
    expect(kinds(bench)).not.toContain("reconnect");
    bench.tickAt(6_000);
    expect(kinds(bench)).toContain("terminate");
  });

  it("case 15: an interruption shorter than it ends nothing", () => {
    const bench = policy("kill");
    bench.tickAt(1_000).give({ type: "link.down" }).tickAt(3_500).give({ type: "link.up" });
    expect(bench.said().at(-1)).toMatchObject({ type: "register", attempts: [{ task: 1 }, { task: 2 }] });
    bench.hear(registered(2)).tickAt(4_500);
    expect(kinds(bench)).not.toContain("terminate");
  });

  it("without a connection, `kill` ends programs too; `finish` does nothing", () => {
    const killing = policy("kill").give({ type: "link.down" });
    expect(killing.wakeAt).toBe(4_000);
    expect(kinds(killing.tickAt(4_000))).toEqual(["log", "terminate"]);
    const finishing = policy("finish").give({ type: "link.down" });
    expect(finishing.wakeAt).toBeUndefined();
  });

  it("case 17: a step that comes seconds too late makes a new connection, whatever the lease", () => {
    for (const onLost of ["kill", "finish"] as const) {
      const bench = policy(onLost);
      bench.tickAt(5_900); // late by less than that: a busy machine
      bench.give({ type: "server.heard", since: 5_900 });
      bench.take();
      const late = policy(onLost);
      late.now = 6_001;
      late.give({ type: "server.heard", since: 6_000 });
      expect(kinds(late)).toEqual(
        onLost === "kill" ? ["log", "reconnect", "terminate"] : ["log", "reconnect"],
      );
    }
  });

  it("an attempt that ended is reported, whatever becomes of the lease", () => {
    const bench = new Bench(new GovernorCore({ ...config, onLost: "kill" }))
      .link()
      .hear(assignment(1))
      .end(1);
    bench.take();
    bench.tickAt(4_000).give({ type: "link.down" }).give({ type: "link.up" });
    expect(bench.said()).toMatchObject([{ type: "register", attempts: [{ task: 1 }] }]);
    expect(bench.hear(registered(2)).said()).toMatchObject([
      { type: "finish", task: 1 },
      { type: "holding" },
    ]);
  });
});

describe("a report that the protocol does not allow", () => {
  it("becomes a failure, once, and its outputs go", () => {
    const bench = linked().hear(assignment(1, { outputs: [7] }));
    bench.end(1, { ok: true, outputs: [output(7, 3)], info: {} });
    bench.take();
    bench.give({ type: "report.refused", ref: refOf(1), why: "outputs[0].size: too large" });
    const [, removed, said] = bench.take();
    expect(removed).toMatchObject({ type: "remove", sha256: digestOf(3) });
    expect(said).toMatchObject({
      type: "send",
      message: { type: "fail", task: 1, failure: { reason: "internal" } },
    });
    bench.give({ type: "link.down" }).link(2);
    expect(bench.said().map(({ type }) => type)).toEqual(["register", "fail", "holding"]);
  });
});

describe("copies for a governor that is drained", () => {
  const copyOf = (object: number, digest: number): ServerToGovernor => {
    const sources = [{ url: "http://127.0.0.1:2/x", ticket: "t" }];
    const copy = {
      session,
      object: asObjectId(object),
      kind: "blob",
      size: 1,
      sha256: digestOf(digest),
    } as const;
    return { type: "copy", objects: [{ ...copy, sources }] };
  };

  it("case 21: are brought once, told, and stay until they are dropped", () => {
    const bench = linked().hear(copyOf(7, 3)).hear(copyOf(7, 3)).hear(copyOf(8, 3));
    expect(bench.take().map(({ type }) => type)).toEqual(["acquire"]);
    bench.give({ type: "acquired", sha256: digestOf(3) });
    expect(bench.said()).toMatchObject([{ type: "holding", objects: [{ object: 7 }, { object: 8 }] }]);
    const drop = (object: number): ServerToGovernor => ({
      type: "drop",
      objects: [{ session, object: asObjectId(object) }],
    });
    expect(bench.hear(drop(7)).take()).toEqual([]);
    expect(bench.hear(drop(8)).take()).toMatchObject([{ type: "remove" }]);
  });

  it("that cannot be brought are told with why", () => {
    const bench = linked().hear(copyOf(7, 3));
    bench.take();
    bench.give({ type: "acquire.failed", sha256: digestOf(3), why: "ENOSPC" });
    expect(bench.said()).toMatchObject([{ type: "uncopied", objects: [{ object: 7, why: "ENOSPC" }] }]);
  });
});

describe("registration", () => {
  it("says who it is first, and nothing else before the answer", () => {
    const bench = new Bench().give({ type: "link.up" });
    expect(bench.said().map((message) => message.type)).toEqual(["register"]);
    bench.hear(assignment(1)); // before the answer: not done
    expect(bench.said()).toEqual([]);
    bench.hear(registered(1));
    expect(bench.effects[0]).toMatchObject({ type: "tickets", epoch: 1 });
    expect(bench.said()).toEqual([{ type: "holding", objects: [], done: true }]);
  });

  it("keeps programs running without a link, and repeats reports before it says what it holds", () => {
    const bench = linked();
    bench.hear(assignment(1, { outputs: [7] })).hear(assignment(2));
    bench.give({ type: "run.started", ref: refOf(2), at: 99 });
    bench.give({ type: "link.down" });
    bench.end(1, { ok: true, outputs: [output(7, 3)], info: {} });
    bench.take();
    bench.give({ type: "link.up" });
    expect(bench.said()).toMatchObject([
      {
        type: "register",
        attempts: [
          { ...refOf(1), running: false },
          { ...refOf(2), running: true },
        ],
      },
    ]);
    bench.hear(registered(2));
    expect(bench.said()).toMatchObject([
      { type: "finish", ...refOf(1) },
      { type: "started", ...refOf(2), at: 99 },
      { type: "holding", objects: [{ session, object: 7, sha256: digestOf(3) }], done: true },
    ]);
    bench.hear({ type: "ack", attempts: [refOf(1)] });
    expect(bench.core.attempts()).toMatchObject([{ ref: refOf(2), phase: "running" }]);
  });

  it("holds in chunks, the last one marked", () => {
    const bench = linked();
    const objects = Array.from({ length: 5_001 }, (_, index) => index);
    for (const object of objects) bench.hear(assignment(object, { outputs: [object] }));
    for (const object of objects)
      bench.end(object, { ok: true, outputs: [output(object, object)], info: {} });
    bench.give({ type: "link.down" }).give({ type: "link.up" });
    bench.take();
    bench.hear(registered(2));
    const holding = bench.said().flatMap((message) => (message.type === "holding" ? [message] : []));
    expect(holding.map(({ objects, done }) => [objects.length, done])).toEqual([
      [5_000, false],
      [1, true],
    ]);
  });

  it("exits when it is refused", () => {
    const bench = new Bench().give({ type: "link.up" });
    const error = toWireError(new RainError("identity-in-use", "another one has it"));
    bench.hear({ type: "refused", error });
    expect(bench.take().at(-1)).toEqual({
      type: "exit",
      reason: "the server refused this governor: another one has it",
      refused: true,
    });
    expect(bench.link().take()).toEqual([]);
  });

  it("asks again while the other governor with its identity may be its own dead process, then exits", () => {
    const bench = new Bench().give({ type: "link.up" });
    const facts = { silentAfterMs: 6_000 };
    const error = toWireError(new RainError("identity-in-use", "another one has it", facts));
    const reason = "the server refused this governor: another one has it";
    for (const at of [100, 6_000, 12_000]) {
      bench.tickAt(at).hear({ type: "refused", error });
      expect(bench.take().at(-1)).toEqual({ type: "reconnect", reason });
      bench.give({ type: "link.down" }).give({ type: "link.up" });
    }
    bench.tickAt(12_100).hear({ type: "refused", error });
    expect(bench.take().at(-1)).toEqual({ type: "exit", reason, refused: true });
  });

  it("takes each time of another governor with its identity for itself", () => {
    const bench = new Bench().give({ type: "link.up" });
    const error = toWireError(new RainError("identity-in-use", "another one", { silentAfterMs: 6_000 }));
    bench.tickAt(100).hear({ type: "refused", error });
    bench.give({ type: "link.down" }).give({ type: "link.up" }).hear(registered(1));
    bench.give({ type: "link.down" }).give({ type: "link.up" }).take();
    bench.tickAt(20_000).hear({ type: "refused", error });
    expect(bench.take().at(-1)).toMatchObject({ type: "reconnect" });
  });

  it("gives a sign of life in every interval, with the worst delay since the last", () => {
    const bench = linked();
    expect(bench.wakeAt).toBe(1_000);
    bench.tickAt(400, 30).tickAt(700, 5).tickAt(1_000, 2).tickAt(2_000, 1);
    expect(bench.said()).toEqual([
      { type: "heartbeat", loopDelayMs: 30 },
      { type: "heartbeat", loopDelayMs: 1 },
    ]);
    bench.give({ type: "link.down" });
    expect(bench.wakeAt).toBeUndefined();
  });
});

describe("inputs", () => {
  const two = { inputs: [[1, 5]] } as const;

  it("brings the same bytes once for all that want them, and tells of the copies", () => {
    const bench = linked();
    bench.hear(assignment(1, two)).hear(assignment(2, { inputs: [[8, 5]] }));
    expect(bench.take().map((effect) => effect.type)).toEqual(["acquire"]);
    bench.give({ type: "acquired", sha256: digestOf(5) });
    const effects = bench.take();
    expect(effects.map((effect) => effect.type)).toEqual(["run", "run", "send"]);
    expect(effects[2]).toMatchObject({
      message: { type: "holding", objects: [{ object: 1 }, { object: 8 }] },
    });
    bench.hear(assignment(3, two));
    expect(bench.take().map((effect) => effect.type)).toEqual(["run"]);
  });

  it("reports every attempt that starves, with the reason", () => {
    const bench = linked();
    bench.hear(assignment(1, two)).hear(assignment(2, two));
    bench.take();
    bench.give({ type: "acquire.failed", sha256: digestOf(5), why: "refused by b:1" });
    const missing = [{ object: 1, why: "refused by b:1" }];
    expect(bench.said()).toEqual([
      { type: "starved", ...refOf(1), missing },
      { type: "starved", ...refOf(2), missing },
    ]);
    bench.hear(assignment(3, two));
    expect(bench.take()).toMatchObject([{ type: "acquire" }]); // a later try is a new one
  });

  it("removes bytes when no object and no attempt needs them", () => {
    const bench = linked();
    const drop = (object: number) =>
      bench.hear({ type: "drop", objects: [{ session, object: asObjectId(object) }] });
    bench.hear(assignment(1, two)).give({ type: "acquired", sha256: digestOf(5) });
    bench.take();
    drop(1);
    expect(bench.take()).toEqual([]); // the run uses them
    bench.end(1, { ok: true, outputs: [output(2, 5)], info: {} });
    expect(bench.said()).toMatchObject([{ type: "finish" }]);
    drop(2);
    expect(bench.take()).toEqual([]); // said before the server knew of this version: an older one is meant
    bench.hear({ type: "ack", attempts: [refOf(1)] });
    drop(2);
    expect(bench.take()).toEqual([{ type: "remove", sha256: digestOf(5) }]);
    drop(2);
    expect(bench.take()).toEqual([]);
  });

  it("adopts bytes that are here under another name, and keeps them when the first name goes", () => {
    const bench = linked();
    const ref = (object: number) => ({ session, object: asObjectId(object) });
    const adopt = (object: number, digest: number) =>
      bench.hear({ type: "adopt", objects: [{ ...ref(object), sha256: digestOf(digest) }] });
    bench.hear(assignment(1, { outputs: [7] })).end(1, { ok: true, outputs: [output(7, 3)], info: {} });
    bench.take();
    adopt(7, 4);
    bench.hear({ type: "ack", attempts: [refOf(1)] });
    adopt(50, 3);
    adopt(51, 4); // not here
    bench.hear({ type: "drop", objects: [ref(7)] });
    expect(bench.take()).toEqual([]);
    expect(bench.core.objects()).toEqual([{ ...ref(50), sha256: digestOf(3) }]);
    // It is told like any other object.
    bench.give({ type: "link.down" }).link(2);
    expect(bench.said().at(-1)).toMatchObject({ type: "holding", objects: [ref(50)], done: true });
    bench.hear({ type: "drop", objects: [ref(50)] });
    expect(bench.take()).toEqual([{ type: "remove", sha256: digestOf(3) }]);
  });

  it("does not adopt bytes that are only on their way, nor in place of a version not yet acknowledged", () => {
    const bench = linked();
    const sha256 = digestOf(5);
    const adopt = (object: number) =>
      bench.hear({ type: "adopt", objects: [{ session, object: asObjectId(object), sha256 }] });
    bench.hear(assignment(1, { ...two, outputs: [7] }));
    adopt(50);
    expect(bench.core.objects()).toEqual([]);
    bench.give({ type: "acquired", sha256 });
    bench.end(1, { ok: true, outputs: [output(7, 6)], info: {} });
    adopt(7);
    expect(bench.core.objects()).toContainEqual({ session, object: 7, sha256: digestOf(6) });
    adopt(50);
    expect(bench.core.objects()).toContainEqual({ session, object: 50, sha256 });
  });

  it("removes bytes that arrive for nobody", () => {
    const bench = linked();
    bench.hear(assignment(1, two)).hear({ type: "cancel", ...refOf(1) });
    expect(bench.said()).toEqual([{ type: "stopped", ...refOf(1) }]);
    bench.give({ type: "acquired", sha256: digestOf(5) });
    expect(bench.take()).toEqual([{ type: "remove", sha256: digestOf(5) }]);
  });
});

describe("resources", () => {
  it("starts by priority, then in order; a big one does not hold up small ones behind it", () => {
    const bench = linked();
    bench.hear(assignment(1, { cpus: 3 }));
    bench
      .hear(assignment(2, { cpus: 4 }))
      .hear(assignment(3, { cpus: 1 }))
      .hear(assignment(4, { cpus: 1 }));
    bench.hear(assignment(5, { cpus: 1, priority: 1 }));
    expect(bench.ran()).toEqual([1, 3]);
    bench.end(3);
    expect(bench.ran()).toEqual([5]);
    bench.end(1).end(5);
    expect(bench.ran()).toEqual([4]);
    bench.end(4);
    expect(bench.ran()).toEqual([2]);
  });

  it("says that there is more while it runs something, and more than its cpus waits for room", () => {
    const bench = linked();
    for (let task = 1; task <= 2; task += 1) bench.hear(assignment(task, { cpus: 2 }));
    for (let task = 3; task <= 6; task += 1) bench.hear(assignment(task, { cpus: 4 }));
    expect(bench.hasMore).toBe(false);
    bench.hear(assignment(7, { cpus: 4 }));
    expect(bench.hasMore).toBe(true);
    bench.end(1);
    expect(bench.hasMore).toBe(true);
    bench.end(2);
    expect(bench.hasMore).toBe(false); // four wait while the third runs
  });

  it("brings the inputs of what has no room yet while others run", () => {
    const bench = linked();
    bench.hear(assignment(1, { cpus: 4 }));
    bench.take();
    bench.hear(assignment(2, { cpus: 4, inputs: [[20, 7]] }));
    expect(bench.take()).toMatchObject([{ type: "acquire", sha256: digestOf(7) }]);
    bench.give({ type: "acquired", sha256: digestOf(7) });
    expect(bench.ran()).toEqual([]);
    bench.end(1);
    expect(bench.take().filter(({ type }) => type === "acquire" || type === "run")).toMatchObject([
      { type: "run", ref: refOf(2) },
    ]);
  });

  it("takes bytes that came before their assignment, for that one only", () => {
    const bench = linked();
    const data = new Uint8Array([1, 2, 3]);
    bench.hear({ type: "bytes", objects: [{ sha256: digestOf(7), data }] });
    bench.hear(
      assignment(1, {
        inputs: [
          [20, 7],
          [21, 8],
        ],
      }),
    );
    expect(bench.take()).toMatchObject([
      { type: "acquire", sha256: digestOf(7), data },
      { type: "acquire", sha256: digestOf(8), data: undefined },
    ]);
    bench.give({ type: "acquire.failed", sha256: digestOf(7), why: "gone" });
    bench.take();
    bench.hear(assignment(2, { inputs: [[20, 7]] }));
    expect(bench.take()).toMatchObject([{ type: "acquire", sha256: digestOf(7), data: undefined }]);
    bench.hear({ type: "bytes", objects: [{ sha256: digestOf(9), data }] });
    bench.give({ type: "link.down" }).link(2);
    bench.take();
    bench.hear(assignment(3, { inputs: [[22, 9]] }));
    expect(bench.take()).toMatchObject([{ type: "acquire", sha256: digestOf(9), data: undefined }]);
  });

  it("gives GPUs by lowest free index", () => {
    const bench = linked();
    const gpus = (): (readonly number[])[] =>
      bench.take().flatMap((effect) => (effect.type === "run" ? [effect.allocation.gpus] : []));
    bench
      .hear(assignment(1, { gpus: 1 }))
      .hear(assignment(2, { gpus: 1 }))
      .hear(assignment(3, { gpus: 2 }));
    expect(gpus()).toEqual([[0], [1]]);
    bench.end(1);
    expect(gpus()).toEqual([[0, 2]]);
  });

  it("fails an assignment that can never run here, and says what is short", () => {
    const bench = linked();
    bench.hear(assignment(1, { cpus: 5, lab: 3 }));
    expect(bench.said()).toMatchObject([
      {
        type: "fail",
        failure: {
          message: "the task needs 5 cpus (has 4), 3 lab (has 2) of governor test, to which it was assigned",
        },
      },
    ]);
  });
});

describe("an attempt that the server wants back", () => {
  it("is given back while it waits, and goes on once it runs", () => {
    const bench = linked();
    bench.hear(assignment(1, { cpus: 4 })).hear(assignment(2));
    bench.take();
    bench.hear({ type: "retract", ...refOf(1) }).hear({ type: "retract", ...refOf(2) });
    bench.hear({ type: "retract", ...refOf(3) });
    expect(bench.take()).toEqual([{ type: "send", message: { type: "stopped", ...refOf(2) } }]);
    bench.end(1);
    bench.hear({ type: "retract", ...refOf(1) });
    expect(bench.said()).toMatchObject([{ type: "finish", ...refOf(1) }]);
  });
});

describe("ends", () => {
  const failed: RunOutcome = {
    ok: false,
    failure: { reason: "signal", message: "ended by SIGTERM", signal: "SIGTERM", stderr: "last words" },
    info: { durationS: 1 },
  };

  it("reports the start, success and failure", () => {
    const bench = linked();
    bench.hear(assignment(1)).hear(assignment(2));
    bench.give({ type: "run.started", ref: refOf(1), at: 5 });
    expect(bench.wakeAt).toBe(20);
    bench.tickAt(20);
    bench.give({ type: "run.started", ref: refOf(2), at: 25 }); // it is over before that is worth a message
    bench.end(1).end(2, failed);
    expect(bench.said()).toMatchObject([
      { type: "started", at: 5 },
      { type: "finish", ...refOf(1) },
      { type: "fail", ...refOf(2), failure: { reason: "signal" } },
    ]);
  });

  it("lets no more bytes ride along than a message may carry, and shortens a long story", () => {
    const bench = linked();
    const data = new Uint8Array(65_536);
    const outputs = Array.from({ length: 20 }, (_, index) => ({ ...output(index, index), data }));
    bench.hear(assignment(1)).end(1, { ok: true, outputs, info: {} });
    const failure = { reason: "output-missing", message: "x".repeat(1e6) } as const;
    bench.hear(assignment(2)).end(2, { ok: false, failure, info: {} });
    const [finish, fail] = bench.said();
    if (finish?.type !== "finish" || fail?.type !== "fail") return expect.fail("other reports");
    expect(finish.outputs.length).toBe(20);
    expect(finish.outputs.filter(({ data }) => data !== undefined).length).toBe(16);
    expect(fail.failure.message.length).toBeLessThan(17_000);
    expect(fail.failure.message).toMatch(/xx\.\.\. \(983616 characters more\)$/);
  });

  it("ends a program after its time: TERM, then KILL, then a failure that names the limit", () => {
    const bench = linked();
    bench.hear(assignment(1, { timeoutS: 0.25 })).give({ type: "run.started", ref: refOf(1), at: 5 });
    bench.tickAt(20);
    expect(bench.wakeAt).toBe(250);
    bench.take();
    bench.tickAt(250);
    expect(bench.take()).toEqual([{ type: "terminate", ref: refOf(1), force: false }]);
    bench.tickAt(749);
    expect(bench.take()).toEqual([]);
    expect(bench.wakeAt).toBe(750);
    bench.tickAt(750);
    expect(bench.take()).toEqual([{ type: "terminate", ref: refOf(1), force: true }]);
    bench.end(1, failed);
    const message = "ran longer than its limit of 0.25 s (timeoutS) and was ended";
    expect(bench.said()).toMatchObject([
      { type: "fail", failure: { reason: "timeout", message, stderr: "last words" } },
    ]);
  });

  it("gives a program's units to the next when it is over, while its outputs are collected, and not twice", () => {
    const bench = linked();
    for (const task of [1, 2, 3]) bench.hear(assignment(task, { cpus: 4 }));
    expect(bench.ran()).toEqual([1]);
    bench.give({ type: "run.over", ref: refOf(1) });
    expect(bench.ran()).toEqual([2]);
    bench.end(1);
    expect(bench.take()).toMatchObject([{ type: "send", message: { type: "finish", task: 1 } }]);
    bench.end(2);
    expect(bench.ran()).toEqual([3]);
    bench.give({ type: "run.over", ref: refOf(3) }).end(3);
    expect(bench.core.free().cpus).toBe(4);
  });

  it("starts nothing while too many collect their outputs", () => {
    const bench = linked();
    for (const task of [1, 2, 3, 4, 5]) {
      bench.hear(assignment(task, { cpus: 4 }));
      expect(bench.ran()).toEqual(task === 5 ? [] : [task]);
      if (task < 5) bench.give({ type: "run.over", ref: refOf(task) });
    }
    bench.end(2);
    expect(bench.ran()).toEqual([5]);
  });

  it("has nobody to end when a program is over: neither its time nor a wish to cancel it is told", () => {
    const bench = linked();
    bench.hear(assignment(1, { timeoutS: 0.25 })).give({ type: "run.started", ref: refOf(1), at: 5 });
    bench.give({ type: "run.over", ref: refOf(1) }).take();
    bench.tickAt(1_000);
    expect(bench.take().filter(({ type }) => type === "terminate")).toEqual([]);
    bench.hear({ type: "cancel", ...refOf(1) }).tickAt(2_000);
    expect(bench.take().filter(({ type }) => type === "terminate")).toEqual([]);
    bench.end(1, { ok: true, outputs: [output(9, 9)], info: {} });
    expect(bench.said()).toEqual([{ type: "stopped", ...refOf(1) }]);
  });

  it("cancels what runs, what waits and what it never heard of; its outputs are not kept", () => {
    const bench = linked();
    bench.hear(assignment(1, { cpus: 4 })).hear(assignment(2));
    bench.take();
    for (const task of [1, 2, 3, 1]) bench.hear({ type: "cancel", ...refOf(task) });
    expect(bench.take()).toEqual([
      { type: "terminate", ref: refOf(1), force: false },
      { type: "send", message: { type: "stopped", ...refOf(2) } },
      { type: "send", message: { type: "stopped", ...refOf(3) } },
    ]);
    bench.end(1, { ok: true, outputs: [output(9, 9)], info: {} });
    expect(bench.take()).toEqual([
      { type: "send", message: { type: "stopped", ...refOf(1) } },
      { type: "remove", sha256: digestOf(9) },
    ]);
  });

  it("sends a report again when it is assigned again, and never runs an attempt twice", () => {
    const bench = linked();
    bench.hear(assignment(1)).hear(assignment(1)).end(1);
    bench.hear(assignment(1));
    expect(
      bench.take().map((effect) => (effect.type === "send" ? effect.message.type : effect.type)),
    ).toEqual(["run", "finish", "finish"]);
    bench.hear({ type: "ack", attempts: [refOf(1)] }).hear(assignment(1));
    expect(bench.said()).toEqual([{ type: "stopped", ...refOf(1) }]);
  });

  it("forgets the oldest logs beyond ten thousand", () => {
    const bench = linked();
    for (let task = 0; task <= 10_000; task += 1) {
      bench
        .hear(assignment(task))
        .end(task)
        .hear({ type: "ack", attempts: [refOf(task)] });
    }
    expect(bench.take().filter((effect) => effect.type === "forget")).toEqual([
      { type: "forget", ref: refOf(0) },
    ]);
  });

  it("throws with the story on news that cannot be", () => {
    const bench = linked();
    bench.hear(assignment(1)).end(1);
    expect(() => bench.end(1)).toThrow(
      /attempt 1\/1\/1, which is not running.*queued.*running.*reported finish/,
    );
    expect(() => bench.give({ type: "acquired", sha256: digestOf(1) })).toThrow(/nobody asked for/);
  });
});

describe("leaving", () => {
  it("ends programs, reports them and exits once the server has the reports", () => {
    const bench = linked();
    bench.hear(assignment(1, { cpus: 4 })).hear(assignment(2));
    bench.take();
    bench.hear({ type: "stop" }).hear(assignment(3));
    expect(bench.take()).toEqual([
      { type: "send", message: { type: "leaving" } },
      { type: "terminate", ref: refOf(1), force: false },
      { type: "send", message: { type: "stopped", ...refOf(2) } },
      { type: "send", message: { type: "stopped", ...refOf(3) } },
    ]);
    bench.end(1, { ok: true, outputs: [], info: {} });
    expect(bench.said()).toEqual([{ type: "stopped", ...refOf(1) }]);
    bench.hear({ type: "ack", attempts: [refOf(1), refOf(2), refOf(3)] });
    expect(bench.take()).toEqual([
      { type: "exit", reason: "the server stopped this governor", refused: false },
    ]);
  });

  it("does not wait for ever for acknowledgements, nor at all without a link", () => {
    const bench = linked();
    bench.hear(assignment(1)).end(1);
    bench.take();
    bench.give({ type: "stop" });
    expect(bench.wakeAt).toBe(500);
    bench.tickAt(500);
    expect(bench.take().at(-1)).toMatchObject({ type: "exit", reason: "stopped by its operator" });
    const alone = new Bench().give({ type: "stop" });
    expect(alone.take()).toMatchObject([{ type: "exit", refused: false }]);
  });

  it("forces at the second stop", () => {
    const bench = linked();
    bench.hear(assignment(1)).give({ type: "stop" });
    bench.take();
    bench.give({ type: "stop" }).give({ type: "stop" });
    expect(bench.take()).toEqual([{ type: "terminate", ref: refOf(1), force: true }]);
    bench.end(1);
    expect(bench.take().at(-1)).toMatchObject({ type: "exit" });
  });
});

describe("metrics", () => {
  const points = (from: number, to: number) =>
    Array.from({ length: to - from }, (_, at) => ({ name: "loss", value: from + at, at: 5 }));
  const started = (): Bench => {
    const bench = linked()
      .hear(assignment(1))
      .give({ type: "run.started", ref: refOf(1), at: 1 });
    bench.take();
    return bench;
  };
  const news = (from: number, to: number, params?: Record<string, number>): GovernorInput => ({
    type: "run.metrics",
    ref: refOf(1),
    news: { points: points(from, to), params },
  });

  it("of a short task ride in its report, finished or failed", () => {
    const metrics = { points: points(0, 2), params: { lr: 1 } };
    const bench = started().end(1, { ok: true, outputs: [], info: {}, metrics });
    expect(bench.said()).toEqual([
      { type: "finish", ...refOf(1), outputs: [], info: {}, metrics: { from: 0, ...metrics } },
    ]);
    const failure = { reason: "exit", message: "exit 1" } as const;
    const failed = started().end(1, { ok: false, failure, info: {}, metrics });
    expect(failed.said()).toMatchObject([{ type: "fail", metrics: { from: 0, ...metrics } }]);
  });

  it("are told as they come, and all of them again after a new connection, before the report", () => {
    const bench = started()
      .give(news(0, 2, { lr: 1 }))
      .give(news(2, 3));
    expect(bench.said()).toEqual([
      { type: "metrics", ...refOf(1), from: 0, points: points(0, 2), params: { lr: 1 } },
      { type: "metrics", ...refOf(1), from: 2, points: points(2, 3) },
    ]);
    bench.give({ type: "link.down" }).give(news(3, 4)).link(2);
    const again = { type: "metrics", ...refOf(1), from: 0, points: points(0, 4), params: { lr: 1 } };
    const all = bench.said();
    expect(all.filter(({ type }) => type === "started" || type === "metrics")).toEqual([
      { type: "started", ...refOf(1), at: 1 },
      again,
    ]);
    bench.end(1, { ok: true, outputs: [], info: {}, metrics: { points: points(4, 5) } });
    bench.give({ type: "link.down" }).link(3);
    const finish = {
      type: "finish",
      ...refOf(1),
      outputs: [],
      info: {},
      metrics: { from: 4, points: points(4, 5) },
    };
    const said = bench.said().filter(({ type }) => type === "metrics" || type === "finish");
    expect(said).toEqual([finish, again, finish]);
    bench
      .hear({ type: "ack", attempts: [refOf(1)] })
      .give({ type: "link.down" })
      .link(4);
    expect(bench.said().filter(({ type }) => type === "metrics")).toEqual([]);
  });

  it("that are many come in several messages", () => {
    const bench = started().end(1, {
      ok: true,
      outputs: [],
      info: {},
      metrics: { points: points(0, 3_500) },
    });
    const said = bench.said();
    expect(said.map(({ type }) => type)).toEqual(["metrics", "metrics", "metrics", "finish"]);
    expect(said.map((each) => ("from" in each ? each.from : undefined)).slice(0, 3)).toEqual([
      0, 1_000, 2_000,
    ]);
    expect(said[3]).toMatchObject({ metrics: { from: 2_500 } });
  });
});

describe("cost", () => {
  const costOf = (shape: Parameters<typeof assignment>[1], costPerHour?: number): number | undefined => {
    const core = new GovernorCore({ ...config, hello: { ...config.hello, costPerHour } });
    core.handle({ type: "link.up" }, 0);
    core.handle({ type: "message", message: registered(1) }, 0);
    core.handle({ type: "message", message: assignment(1, shape) }, 0);
    const outcome: RunOutcome = { ok: true, outputs: [], info: { durationS: 1_800 } };
    const { effects } = core.handle({ type: "run.ended", ref: refOf(1), outcome }, 0);
    const [finish] = effects.flatMap((effect) => (effect.type === "send" ? [effect.message] : []));
    return finish?.type === "finish" ? finish.info.cost : undefined;
  };

  it("is the largest share of the machine, times what an hour of it costs", () => {
    // The machine has 4 cpus, 3 gpus, 1,000 bytes of memory and 2 of "lab".
    expect(costOf({ cpus: 1 }, 12)).toBe(1.5);
    expect(costOf({ cpus: 1, gpus: 3 }, 12)).toBe(6);
    expect(costOf({ cpus: 1, memory: 500 }, 12)).toBe(3);
    expect(costOf({ cpus: 0, lab: 1 }, 12)).toBe(3);
    expect(costOf({ cpus: 0 }, 12)).toBe(0);
    expect(costOf({ cpus: 1 })).toBeUndefined();
  });
});
