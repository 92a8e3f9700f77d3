import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { serverToClient, type ClientRequest, type ServerToClient } from "@rain/protocol";
import { loadAccess } from "@rain/protocol/access";
import { connectLink, type Link } from "@rain/protocol/link";
import { startServer, type RunningServer } from "@rain/server";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";

// Much is tried in each test: on a busy machine that takes longer than a test usually may.
vi.setConfig({ testTimeout: 120_000 });

/** Messages that no client of ours would send, from one that has a key, to a real server. */
let home: string;
let server: RunningServer;
let link: Link<ServerToClient, ClientRequest>;
const waiting = new Map<number, (message: ServerToClient) => void>();
let lastReq = 0;

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "rain-wrong-"));
  const listen = { host: "127.0.0.1", port: 0 };
  server = await startServer({ instanceDir: home, listen, version: "0", log: () => undefined });
  const { url, clusterId, keys } = await loadAccess(server.accessFile);
  link = await connectLink({
    url,
    clusterId,
    role: "client",
    key: keys.client ?? "",
    schema: serverToClient,
  });
  link.onMessage((message) => {
    if ("req" in message) waiting.get(message.req)?.(message);
  });
});
afterAll(async () => {
  link.close();
  await server.stop();
  await rm(home, { recursive: true, force: true });
});

/** Sends it as it is, whatever it is, and gives the answer. */
function ask(message: object): Promise<ServerToClient> {
  const req = ++lastReq;
  return new Promise((resolve) => {
    waiting.set(req, resolve);
    link.send({ ...message, req } as ClientRequest);
  });
}

const output = (object: number): object => ({
  object,
  label: `o${object}`,
  kind: "blob",
  contentType: "",
  keep: true,
  path: `o${object}`,
});
const task = (id: number, more: object = {}): Record<string, unknown> => ({
  id,
  work: { type: "execute", args: ["true"] },
  inputs: [],
  outputs: [output(100 + id)],
  request: { cpus: 1, gpus: 0, memory: 0, named: {} },
  ...more,
});
const constant = (id: number, more: object = {}): object => ({
  id,
  kind: "blob",
  label: "c",
  contentType: "",
  keep: true,
  size: 1,
  sha256: "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881", // of "x"
  data: Uint8Array.of(0x78),
  ...more,
});
const without = (value: Record<string, unknown>, key: string): object =>
  Object.fromEntries(Object.entries(value).filter(([name]) => name !== key));
const input = (object: number): object => ({ inputs: [{ object }] });

interface Parts {
  readonly tasks?: readonly object[];
  readonly constants?: readonly object[];
}
let submits = 0;
const submit = (
  session: number,
  { tasks = [], constants = [] }: Parts,
  more: object = {},
): Promise<ServerToClient> =>
  ask({
    type: "submit",
    session,
    key: `submit-key-${++submits}`,
    part: 0,
    last: true,
    tasks,
    constants,
    ...more,
  });

async function openSession(): Promise<number> {
  const opened = await ask({
    type: "session.open",
    key: `session-key-${lastReq}`,
    name: "s",
    onError: "fail",
    detached: false,
  });
  if (opened.type !== "reply") throw new Error(JSON.stringify(opened));
  return (opened.ok as { session: number }).session;
}

describe("case 39: a submit that is not right", () => {
  const wrong: readonly (readonly [what: string, parts: Parts, code: string, place: RegExp])[] = [
    [
      "a missing field",
      { tasks: [task(5), without(task(6), "request")] },
      "bad-message",
      /^submit: tasks\[1\]\.request: /,
    ],
    [
      "a missing field within",
      { tasks: [task(5, { outputs: [without({ ...output(1) }, "keep")] })] },
      "bad-message",
      /^submit: tasks\[0\]\.outputs\[0\]\.keep: /,
    ],
    [
      "a field too many",
      { tasks: [task(5, { command: "rm" })] },
      "bad-message",
      /^submit: tasks\[0\]: .*command/,
    ],
    [
      "a negative size",
      { constants: [constant(50), constant(51, { size: -1 })] },
      "bad-message",
      /^submit: constants\[1\]\.size: /,
    ],
    ["a size that is not that of the bytes", { constants: [constant(50, { size: 2 })] }, "bad-digest", /o50/],
    [
      "bytes that are not those of the digest",
      { constants: [constant(50, { data: Uint8Array.of(9) })] },
      "bad-digest",
      /o50/,
    ],
    ["NaN", { tasks: [task(5, { timeoutS: Number.NaN })] }, "bad-message", /^submit: tasks\[0\]\.timeoutS: /],
    [
      "infinity",
      { tasks: [task(5, { request: { cpus: Infinity, gpus: 0, memory: 0, named: {} } })] },
      "bad-message",
      /^submit: tasks\[0\]\.request\.cpus: /,
    ],
    ["2^53", { tasks: [task(2 ** 53)] }, "bad-message", /^submit: tasks\[0\]\.id: /],
    ["a negative id", { tasks: [task(-1)] }, "bad-message", /^submit: tasks\[0\]\.id: /],
    ["half a task", { tasks: [task(1.5)] }, "bad-message", /^submit: tasks\[0\]\.id: /],
    [
      "text where a list must be",
      { tasks: [task(5, { inputs: "x" })] },
      "bad-message",
      /^submit: tasks\[0\]\.inputs: /,
    ],
    [
      "work of no known kind",
      { tasks: [task(5, { work: { type: "rm" } })] },
      "bad-message",
      /^submit: tasks\[0\]\.work\.type: /,
    ],
    [
      "a path that leaves the folder",
      { tasks: [task(5, { outputs: [{ ...output(1), path: "../x" }] })] },
      "bad-message",
      /^submit: tasks\[0\]\.outputs\[0\]\.path: /,
    ],
    ["a cycle of two", { tasks: [task(5, input(106)), task(6, input(105))] }, "cycle", /task 5, task 6/],
    [
      "a cycle of three among others",
      { tasks: [task(4), task(5, input(107)), task(6, input(105)), task(7, input(106))] },
      "cycle",
      /task 5, task 6, task 7/,
    ],
    ["a task that waits for itself", { tasks: [task(5), task(6, input(106))] }, "cycle", /task 6/],
    [
      "an input that nobody makes",
      { tasks: [task(5), task(6, input(999))] },
      "unknown-object",
      /task 6: input 0, data object o999, does not exist/,
    ],
    ["a task twice", { tasks: [task(5), task(5, { outputs: [] })] }, "duplicate-id", /task 5 exists already/],
    [
      "a task that is there",
      { tasks: [task(5), task(0, { outputs: [] })] },
      "duplicate-id",
      /task 0 exists already/,
    ],
    [
      "an object twice",
      { tasks: [task(5), task(6, { outputs: [output(105)] })] },
      "duplicate-id",
      /task 6: data object o105 exists already/,
    ],
    [
      "an object that is there",
      { tasks: [task(5, { outputs: [output(100)] })] },
      "duplicate-id",
      /o100 exists already/,
    ],
    ["a constant twice", { constants: [constant(50), constant(50)] }, "duplicate-id", /o50/],
  ];

  test.each(wrong)(
    "%s: the error names the place, and the session is as it was",
    async (_, parts, code, place) => {
      const session = await openSession();
      expect(await submit(session, { tasks: [task(0)] })).toMatchObject({ type: "reply" });
      const describeIt = { type: "session.describe", session, from: 0, max: 100 };
      const { req: _first, ...before } = (await ask(describeIt)) as ServerToClient & { req: number };
      const answer = await submit(session, parts);
      if (answer.type !== "error") throw new Error(`it was answered ${JSON.stringify(answer)}`);
      expect(answer.error.code).toBe(code);
      expect(answer.error.message).toMatch(place);
      const { req: _second, ...after } = (await ask(describeIt)) as ServerToClient & { req: number };
      expect(after).toEqual(before);
      // None of the ids that it named is taken now.
      const again = { tasks: [task(5), task(6)], constants: [constant(50), constant(51)] };
      expect(await submit(session, again)).toMatchObject({ type: "reply" });
    },
  );

  test("in its second part, takes nothing of the first", async () => {
    const session = await openSession();
    const key = "submit-in-parts";
    const first = { type: "submit", session, key, part: 0, last: false, tasks: [task(5)], constants: [] };
    expect(await ask(first)).toMatchObject({ type: "reply" });
    const second = { ...first, part: 1, last: true, tasks: [task(6, input(999))] };
    expect(await ask(second)).toMatchObject({ type: "error", error: { code: "unknown-object" } });
    expect(await ask({ type: "session.describe", session, from: 0, max: 10 })).toMatchObject({
      ok: { tasks: [], objects: [] },
    });
    expect(await submit(session, { tasks: [task(5)] })).toMatchObject({ type: "reply" });
  });
});
