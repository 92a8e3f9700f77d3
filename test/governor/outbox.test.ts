import { asSessionId, asTaskId, unpackFinishes, type GovernorMessage, type TaskInfo } from "@rain/protocol";
import { Outbox } from "@rain/governor/core";
import { describe, expect, test } from "vitest";

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
