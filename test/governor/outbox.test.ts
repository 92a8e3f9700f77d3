import { asSessionId, asTaskId, unpackFinishes, type GovernorMessage, type TaskInfo } from "@rain/protocol";
import { Outbox } from "@rain/governor/core";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Mouth } from "../../packages/governor/src/mouth.ts";

const finish = (task: number, info: TaskInfo = { durationS: 1 }, session = 1): GovernorMessage => ({
  type: "finish",
  session: asSessionId(session),
  task: asTaskId(task),
  attempt: 1,
  outputs: [],
  info,
});
const said = (messages: readonly GovernorMessage[]): string[] =>
  messages.map((message) => {
    if (message.type === "finish.batch")
      return `finish.batch ${[...unpackFinishes(message)].map(({ task }) => task).join()}`;
    return "task" in message ? `${message.type} ${message.task}` : message.type;
  });
function box(...messages: GovernorMessage[]): Outbox {
  const outbox = new Outbox();
  outbox.batching = true;
  for (const message of messages) outbox.add(message);
  return outbox;
}

describe("what a governor has to say", () => {
  test("plain reports in a row are one message", () => {
    expect(said(box(finish(1), finish(2), finish(3)).take())).toEqual(["finish.batch 1,2,3"]);
  });
  test("the order stays; other sessions and other measures are apart", () => {
    const outbox = box(
      finish(1),
      { type: "heartbeat", loopDelayMs: 0 },
      finish(2),
      finish(3, {}),
      finish(4, {}, 2),
      finish(5, { debug: "a note" }),
      finish(6, { debug: "a note" }),
    );
    expect(said(outbox.take())).toEqual([
      "finish 1",
      "heartbeat",
      "finish 2",
      "finish 3",
      "finish 4",
      "finish 5",
      "finish 6",
    ]);
    expect(outbox.take()).toEqual([]);
  });
  test("reports with metrics go alone", () => {
    const measured = { ...finish(2), metrics: { from: 0, points: [] } } as GovernorMessage;
    expect(said(box(finish(1), measured, finish(3), finish(4)).take())).toEqual([
      "finish 1",
      "finish 2",
      "finish.batch 3,4",
    ]);
  });
  test("an older server gets one report after the other; a new connection starts so", () => {
    const outbox = box();
    outbox.clear();
    for (const task of [1, 2]) outbox.add(finish(task));
    expect(said(outbox.take())).toEqual(["finish 1", "finish 2"]);
  });
});

describe("when it is said", () => {
  let heard: string[][];
  let mouth: Mouth;
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setImmediate", "clearImmediate"] });
    heard = [];
    mouth = new Mouth((messages) => heard.push(said(messages)));
    mouth.batching = true;
  });
  afterEach(() => vi.useRealTimers());
  const step = (hasMore: boolean, ...messages: GovernorMessage[]): void => {
    for (const message of messages) mouth.add(message);
    mouth.saySoon(hasMore);
  };

  test("at the end of the turn, when nothing more waits to run", () => {
    step(false, finish(1));
    step(false, finish(2));
    expect(heard).toEqual([]);
    vi.advanceTimersByTime(0);
    expect(heard).toEqual([["finish.batch 1,2"]]);
    vi.advanceTimersByTime(1_000);
    expect(heard).toHaveLength(1);
  });
  test("finishes wait for others while more waits to run, 20 ms at most", () => {
    for (let task = 1; task <= 4; task += 1) {
      step(true, finish(task));
      vi.advanceTimersByTime(6);
    }
    expect(heard).toEqual([["finish.batch 1,2,3,4"]]);
    step(true, finish(5));
    vi.advanceTimersByTime(19);
    expect(heard).toHaveLength(1);
    vi.advanceTimersByTime(1);
    expect(heard[1]).toEqual(["finish 5"]);
  });
  test("they go as soon as little is left to run, or with whatever may not wait", () => {
    step(true, finish(1));
    step(false);
    vi.advanceTimersByTime(0);
    step(true, finish(2));
    step(true, { type: "heartbeat", loopDelayMs: 0 });
    vi.advanceTimersByTime(0);
    step(true, finish(3));
    mouth.sayNow();
    expect(heard).toEqual([["finish 1"], ["finish 2", "heartbeat"], ["finish 3"]]);
    vi.advanceTimersByTime(1_000);
    expect(heard).toHaveLength(3);
  });
  test("what waited is not said on the next connection", () => {
    step(true, finish(1));
    mouth.clear();
    vi.advanceTimersByTime(1_000);
    step(false, finish(2));
    vi.advanceTimersByTime(0);
    expect(heard).toEqual([["finish 2"]]);
  });
});
