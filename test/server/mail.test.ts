import {
  asGovernorId,
  asObjectId,
  asSessionId,
  asTaskId,
  RainError,
  unpackAssignments,
  unpackRefs,
  type ServerToGovernor,
} from "@rain/protocol";
import type { ServerEffect } from "@rain/server/core";
import { beforeEach, describe, expect, test } from "vitest";
import { GovernorMail } from "../../packages/server/src/mail.ts";

type AssignEffect = Extract<ServerEffect, { readonly type: "assign" }>;
const NEW = 1;
const OLD = 2;
const governor = asGovernorId(1);

let sent: { readonly to: number; readonly message: ServerToGovernor }[] = [];
let tooLarge: number[] = [];
/** The longest list of a message that is not too large. */
let room = Infinity;
let mail: GovernorMail;
beforeEach(() => {
  [sent, tooLarge, room] = [[], [], Infinity];
  mail = new GovernorMail({
    send: (to, message) => {
      const tasks = message.type === "assign.batch" ? [...unpackAssignments(message)].length : 1;
      if (message.type.startsWith("assign") && tasks > room)
        throw new RainError("limit-exceeded", "too large");
      sent.push({ to, message });
    },
    address: ({ holders: _holders, onServer: _onServer, ...input }) => ({ ...input, sources: [] }),
    onTooLarge: ({ task }) => tooLarge.push(task),
  });
  mail.registered(NEW, true);
  mail.registered(OLD, false);
});

function assign(
  connection: number,
  task: number,
  options: { session?: number; arg?: string } = {},
): AssignEffect {
  const id = asTaskId(task);
  const session = asSessionId(options.session ?? 1);
  const work = { type: "execute", args: ["run", options.arg ?? String(task)] } as const;
  const spec = { id, work, inputs: [], outputs: [], request: { cpus: 1, gpus: 0, memory: 0, named: {} } };
  return {
    type: "assign",
    connection,
    governor,
    session,
    task: id,
    attempt: 1,
    spec,
    inputs: [],
    array: undefined,
  };
}
const ack = (connection: number, task: number): void =>
  mail.send(connection, {
    type: "ack",
    attempts: [{ session: asSessionId(1), task: asTaskId(task), attempt: 1 }],
  });

/** What was said, in short: the type and the tasks of each message. */
const said = (to: number): string[] =>
  sent
    .filter((each) => each.to === to)
    .map(({ message }) => {
      if (message.type === "assign") return `assign ${message.task}`;
      if (message.type === "assign.batch")
        return `assign.batch ${[...unpackAssignments(message)].map(({ spec }) => spec.id).join()}`;
      if (message.type === "ack") return `ack ${message.attempts.map(({ task }) => task).join()}`;
      if (message.type === "ack.batch")
        return `ack.batch ${[...unpackRefs(message)].map(({ task }) => task).join()}`;
      return message.type;
    });

describe("what is said to governors", () => {
  test("becomes one message where it follows one another, when it is flushed", () => {
    for (const task of [1, 2, 3]) mail.assign(assign(NEW, task));
    expect(said(NEW)).toEqual([]);
    mail.flush();
    for (const task of [1, 2]) ack(NEW, task);
    mail.flush();
    expect(said(NEW)).toEqual(["assign.batch 1,2,3", "ack.batch 1,2"]);
  });

  test("stays in order", () => {
    mail.assign(assign(NEW, 1));
    ack(NEW, 2);
    ack(NEW, 3);
    mail.send(NEW, { type: "drop", objects: [{ session: asSessionId(1), object: asObjectId(1) }] });
    mail.assign(assign(NEW, 4));
    mail.assign(assign(NEW, 5, { session: 2 }));
    mail.flush();
    expect(said(NEW)).toEqual(["assign 1", "ack.batch 2,3", "drop", "assign 4", "assign 5"]);
  });

  test("acknowledgements wait for what is said next; nothing else does", () => {
    ack(NEW, 1);
    expect(mail.endTurn()).toBe(true);
    ack(NEW, 2);
    expect(mail.endTurn()).toBe(true);
    expect(said(NEW)).toEqual([]);
    mail.assign(assign(NEW, 3));
    expect(mail.endTurn()).toBe(false);
    expect(said(NEW)).toEqual(["ack.batch 1,2", "assign 3"]);
    mail.assign(assign(NEW, 4));
    ack(NEW, 5);
    expect(mail.endTurn()).toBe(true);
    expect(said(NEW).slice(2)).toEqual(["assign 4"]);
    mail.flush();
    expect(said(NEW).slice(3)).toEqual(["ack 5"]);
    expect(mail.endTurn()).toBe(false);
  });

  test("goes one by one to a governor that does not know batches", () => {
    for (const task of [1, 2]) mail.assign(assign(OLD, task));
    for (const task of [3, 4]) ack(OLD, task);
    expect(said(OLD)).toEqual(["assign 1", "assign 2", "ack 3", "ack 4"]);
  });

  test("does not mix the connections", () => {
    mail.assign(assign(NEW, 1));
    mail.registered(3, true);
    mail.assign(assign(3, 2));
    mail.assign(assign(NEW, 3));
    mail.flush();
    expect([said(NEW), said(3)]).toEqual([["assign.batch 1,3"], ["assign 2"]]);
  });

  test("is of at most a thousand tasks, and large descriptions go alone", () => {
    for (let task = 0; task < 1_001; task++) mail.assign(assign(NEW, task));
    mail.assign(assign(NEW, 2_000, { arg: "x".repeat(2_000) }));
    mail.assign(assign(NEW, 2_001));
    mail.flush();
    expect(said(NEW).map((line) => line.split(",").length)).toEqual([1_000, 1, 1, 1]);
    expect(said(NEW).slice(1)).toEqual(["assign 1000", "assign 2000", "assign 2001"]);
  });

  test("is tried one by one when all together are too large; what is too large alone is told", () => {
    room = 1;
    for (const task of [1, 2]) mail.assign(assign(NEW, task));
    mail.flush();
    expect(said(NEW)).toEqual(["assign 1", "assign 2"]);
    room = 0;
    mail.assign(assign(NEW, 3));
    mail.flush();
    expect(tooLarge).toEqual([3]);
  });

  test("is forgotten with its connection", () => {
    mail.assign(assign(NEW, 1));
    mail.gone(NEW);
    mail.flush();
    expect(sent).toEqual([]);
  });
});
