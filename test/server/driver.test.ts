import { asSessionId } from "@rain/protocol";
import { expect, it } from "vitest";
import type { ServerEffect } from "@rain/server/core";
import { ServerDriver, type Clock } from "../../packages/server/src/driver.ts";
import { CoreKit, taskSpec } from "./core-kit.ts";
import { open } from "./journal-support.ts";

it("a submit and the assignment that follows it at rest are one append and one sync, and seen after it", () => {
  const kit = new CoreKit();
  kit.register(100);
  const session = kit.open();
  const { journal, storage, queue } = open();
  const seen: string[] = [];
  storage.fault = ({ kind }) => void seen.push(kind);
  const clock: Clock = {
    now: () => kit.now,
    // As on Node: a wish for now is granted at the end of the turn, a later one here not at all.
    wakeAt: (at, wake) => at <= kit.now && queue.schedule(wake),
  };
  const perform = ({ type }: ServerEffect): void => void seen.push(type);
  const driver = new ServerDriver(kit.core, journal, clock, { perform, performed: () => undefined });
  const request = {
    type: "submit",
    req: 1,
    session: asSessionId(session),
    key: "a submit",
    tasks: [taskSpec(0)],
    constants: [],
  } as const;
  driver.input({ type: "client.request", connection: 1, request });
  expect(seen).toEqual([]);
  queue.drain();
  expect(seen).toEqual(["append", "sync", "reply", "assign"]);
  expect(open(storage.files()).state.records.map(({ type }) => type)).toEqual(["submitted", "assigned"]);
});
