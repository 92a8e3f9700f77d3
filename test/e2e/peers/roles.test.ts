import { randomBytes } from "node:crypto";
import { readFile, stat } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import {
  deniedText,
  limits,
  governorRules,
  requestRules,
  requestTypes,
  ruleOf,
  roles,
  serverToClient,
  type Role,
  type ServerToClient,
} from "@rain/protocol";
import { keyId, type Access } from "@rain/protocol/access";
import { connectLink, type Link } from "@rain/protocol/link";
import { signTicket } from "@rain/protocol/tickets";
import type { Task } from "@rain/client";
import { z } from "zod";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { routes } from "../../../packages/server/src/http/routes.ts";
import { Peers } from "./kit.ts";

vi.setConfig({ testTimeout: 120_000 });

let peers: Peers;
let access: Access;
beforeEach(async () => {
  peers = await Peers.make();
  await peers.server();
  access = await peers.access();
});
afterEach(async () => {
  await peers.stop();
});

type AnyLink = Link<unknown, object>;
const link = (role: Role): Promise<AnyLink> =>
  connectLink<unknown, object>({
    url: access.url,
    role,
    key: access.keys[role] ?? "",
    clusterId: access.clusterId,
    schema: z.unknown(),
  });
const next = (from: AnyLink): Promise<unknown> => new Promise((resolve) => from.onMessage(resolve));
const ended = (of: AnyLink): Promise<{ code: number; reason: string }> =>
  new Promise((resolve) => of.onClose(resolve));

/** Refusals of one address are answered and written down ten times a second: the bucket has a token again. */
const refill = (): Promise<void> => delay(1_100 / limits.failedHandshakesPerSecond);

interface Line {
  readonly time: string;
  readonly verb: string;
  readonly result: string;
  readonly role?: string;
  readonly keyId?: string;
  readonly remote: string;
  readonly connection?: number;
  readonly target?: string;
}
async function auditLines(): Promise<Line[]> {
  const text = await readFile(join(peers.home, "logs", "audit.jsonl"), "utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
}
const lastRefusal = async (): Promise<Line | undefined> =>
  (await auditLines()).findLast(({ result }) => result === "refused");

function ask(
  method: string,
  path: string,
  headers: Record<string, string>,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const sent = request(new URL(path, access.url), { method, headers, agent: false }, (answer) => {
      let body = "";
      answer.setEncoding("utf8").on("data", (part: string) => (body += part));
      answer.on("end", () => resolve({ status: answer.statusCode ?? 0, body }));
    });
    sent.on("error", reject);
    sent.end();
  });
}

const types = [...new Set([...Object.keys(requestRules), ...Object.keys(governorRules)])];
const may = (role: Role, type: string): boolean => ruleOf(role, type)?.roles.includes(role) === true;

describe("case 45: the table of roles", () => {
  test("has every request and every message of governors, and nobody may do all", () => {
    expect(Object.keys(requestRules).toSorted()).toEqual([...requestTypes].toSorted());
    for (const type of requestTypes) {
      expect(may("client", type), type).toBe(true);
      expect(requestRules[type].roles, type).not.toContain("governor");
    }
    for (const { roles: allowed } of Object.values(governorRules)) expect(allowed).toEqual(["governor"]);
    // A viewer changes nothing and waits for nothing.
    expect(types.filter((type) => may("viewer", type))).toEqual([
      "session.get",
      "session.list",
      "session.describe",
      "task.get",
      "object.get",
      "results",
      "metrics",
      "history",
      "datastore.list",
      "cache.list",
      "explain",
      "server.info",
    ]);
  });

  for (const role of roles) {
    test(`every message that the ${role} may not send is denied with one text, and written down`, async () => {
      for (const type of types.filter((each) => !may(role, each))) {
        const open = await link(role);
        const closed = ended(open);
        open.send({ type, req: 7, session: 1, governor: 1, governors: false });
        if (role === "governor") expect(await closed, type).toEqual({ code: 1008, reason: deniedText });
        else {
          expect(await next(open), type).toEqual({
            type: "error",
            req: 7,
            error: { code: "not-allowed", message: deniedText, facts: {} },
          });
          open.close();
          await closed;
        }
        expect(await lastRefusal(), type).toMatchObject({
          verb: role === "governor" ? "message" : type,
          role,
          keyId: keyId(access.keys[role] ?? ""),
          connection: expect.any(Number),
        });
        await refill();
      }
    });
  }

  test("what a role may ask, the table does not deny", async () => {
    for (const role of ["client", "viewer"] as const) {
      for (const type of requestTypes.filter((each) => may(role, each))) {
        const open = await link(role);
        open.send({ type, req: 1, nonsense: true });
        expect(await next(open), `${role} ${type}`).toMatchObject({ error: { code: "bad-message" } });
        open.close();
      }
    }
  });

  test("every route without a key, with a wrong role, a made-up, replayed or foreign proof is denied with one text", async () => {
    const [viewer, governor] = [await link("viewer"), await link("governor")];
    const gone = await link("client");
    gone.close();
    await ended(gone);
    const made = signTicket(randomBytes(32), { method: "GET", path: "/x", epoch: 0 });
    const proofs: readonly (readonly [what: string, authorization: string | undefined, role?: Role])[] = [
      ["nothing", undefined],
      ["a viewer's token", `Rain-Token ${viewer.welcome.token}`, "viewer"],
      ["a governor's token", `Rain-Token ${governor.welcome.token}`, "governor"],
      ["the token of a link that ended", `Rain-Token ${gone.welcome.token}`],
      ["a made-up token", `Rain-Token ${"a".repeat(43)}`],
      ["a key as it is", `Bearer ${access.keys.client}`],
      ["a ticket of another key", `Rain-Ticket ${made}`],
      ["a ticket that is none", "Rain-Ticket x"],
    ];
    const all = [
      ...routes,
      { method: "DELETE", example: routes[0]?.example ?? "" },
      { method: "GET", example: "/rain/v1/nothing" },
      { method: "GET", example: "/" },
    ];
    for (const { method, example } of all) {
      for (const [what, authorization, role] of proofs) {
        const headers = authorization === undefined ? {} : { Authorization: authorization };
        expect(await ask(method, example, headers), `${method} ${example} with ${what}`).toEqual({
          status: role === undefined ? 401 : 403,
          body: `${deniedText}\n`,
        });
        expect(await lastRefusal()).toMatchObject({
          verb: "route",
          target: `${method} ${example}`,
          ...(role === undefined ? {} : { role }),
        });
        await refill();
      }
    }
    for (const { pattern, example } of routes) expect(example).toMatch(pattern);
    // The same routes with a client's token are served: 404 for what is not there.
    const client = await link("client");
    for (const { method, example } of routes.filter((each) => each.method === "GET")) {
      const headers = { Authorization: `Rain-Token ${client.welcome.token}` };
      expect((await ask(method, example, headers)).status).toBe(404);
    }
  });
});

describe("case 51: the governor's key", () => {
  test("can neither submit nor list sessions nor fetch, over a link or by a route", async () => {
    const client = await peers.client();
    const session = await client.newSession("secret plans");
    for (const type of ["submit", "session.list", "fetch"] as const) {
      const governor = await link("governor");
      const closed = ended(governor);
      governor.send({ type, req: 1, session: session.id, object: 1 });
      expect(await closed).toEqual({ code: 1008, reason: deniedText });
      const asClient = connectLink<ServerToClient, object>({
        url: access.url,
        role: "client",
        key: access.keys.governor ?? "",
        schema: serverToClient,
      });
      await expect(asClient).rejects.toMatchObject({ code: "unauthorized" });
    }
    const { welcome } = await link("governor");
    const path = `/rain/v1/sessions/${session.id}/objects/1`;
    expect(await ask("GET", path, { Authorization: `Rain-Token ${welcome.token}` })).toEqual({
      status: 403,
      body: `${deniedText}\n`,
    });
  });
});

test("a viewer sees states, and neither what programs wrote nor what they were given", async () => {
  await (await peers.governor("a")).registered();
  const session = await (await peers.client()).newSession("", { onError: "continue" });
  const script =
    'echo $TOKEN >&2; echo "{\\"user\\": {\\"note\\": \\"$TOKEN\\"}, \\"debug\\": \\"$TOKEN\\"}" > "$RAIN_INFO"; exit $0';
  const run = (code: number, name: string): Task => {
    const user = { token: "hidden by its owner" };
    return session.execute(["sh", "-c", script, String(code), "--token=hidden"], {
      env: { TOKEN: "hidden" },
      stdout: true,
      name,
      user,
    });
  };
  const [task, well] = [run(3, "fails"), run(0, "succeeds")];
  well.keepOutputs();
  await session.submit();
  await task.wait().catch(() => undefined);
  await well.wait();
  // What must not be seen is there.
  expect(JSON.stringify([well.info, task.info])).toContain("hidden");
  const viewer = await link("viewer");
  const answers: string[] = [];
  for (const [type, fields] of [
    ["server.info", {}],
    ["session.list", {}],
    ["session.describe", { session: session.id, from: 0, max: 10 }],
    ["task.get", { session: session.id, tasks: [0] }],
    ["object.get", { session: session.id, objects: [0, 1] }],
    ["results", { session: session.id, since: 0, max: 10 }],
    ["session.get", { session: session.id }],
    ["history", { max: 10 }],
    ["explain", { session: session.id, task: 0 }],
  ] as const) {
    viewer.send({ type, req: 1, ...fields });
    const answer = await next(viewer);
    expect(answer).toMatchObject({ type: "reply" });
    answers.push(JSON.stringify(answer));
  }
  expect(answers[3]).toContain('"failed"');
  expect(answers[3]).toContain("exit");
  expect(answers.join("\n")).not.toContain("hidden");
  // Two requests with one number would make it unknown what a reply answers.
  const closed = ended(viewer);
  viewer.send({ type: "task.get", req: 9, session: session.id, tasks: [0] });
  viewer.send({ type: "server.info", req: 9 });
  viewer.send({ type: "metrics", req: 9, session: session.id, task: 0 });
  const twice = await Promise.race([closed, next(viewer)]);
  expect(JSON.stringify(twice)).not.toContain("hidden");
});

test("the audit log: lines of JSON for its owner alone, with what was done to what, and no secret", async () => {
  await (await peers.governor("a")).registered();
  const client = await peers.client();
  const session = await client.newSession("name-of-session");
  const task = session.execute(["echo", "argument-text"], { stdout: true, env: { A: "environment-text" } });
  task.keepOutputs();
  await session.submit();
  await task.output.fetch();
  await session.close();
  const lines = await auditLines();
  expect(lines.map(({ verb, role, target }) => [verb, role, target])).toEqual(
    expect.arrayContaining([
      ["handshake", "governor", undefined],
      ["register", "governor", undefined],
      ["handshake", "client", undefined],
      ["session.open", "client", undefined],
      ["submit", "client", String(session.id)],
      ["fetch", "client", `${session.id}/o0`],
      ["session.close", "client", String(session.id)],
    ]),
  );
  const known = new Set(["time", "verb", "result", "remote", "connection", "role", "keyId", "target"]);
  for (const line of lines) {
    expect(new Date(line.time).toISOString()).toBe(line.time);
    expect(line.remote).toMatch(/^127\.0\.0\.1:\d+$/);
    expect(Object.keys(line).filter((name) => !known.has(name))).toEqual([]);
  }
  expect(new Set(lines.map(({ keyId: id }) => id))).toEqual(
    new Set([keyId(access.keys.client ?? ""), keyId(access.keys.governor ?? "")]),
  );
  const path = join(peers.home, "logs", "audit.jsonl");
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  const text = await readFile(path, "utf8");
  for (const secret of [
    ...Object.values(access.keys),
    "argument-text",
    "environment-text",
    "name-of-session",
  ])
    expect(text).not.toContain(secret);
});
