import { createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect } from "node:net";
import { challengePath, limits, linkPath, roles } from "@rain/protocol";
import { createKey, keyId } from "@rain/protocol/access";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  clusterId,
  connectClient,
  connectGovernor,
  ended,
  http,
  instance,
  listen,
  nextLink,
  refusal,
  startGate,
  upgradeHeaders,
  type Setup,
} from "./link-fixture.ts";

let setup: Setup;
beforeEach(async () => {
  setup = await startGate();
});
afterEach(async () => {
  await setup.close();
});

const cnonce = "c".repeat(43);
async function challenge(port: number = setup.port): Promise<string> {
  const { body } = await http(port, challengePath);
  return (JSON.parse(body) as { nonce: string }).nonce;
}
/** The handshake as another language would write it, from its description alone. */
function proof(
  key: string,
  direction: string,
  role: string,
  nonce: string,
  client = "1-1",
  protocol = "0",
  server = "1-1",
): string {
  const lines = [
    "rain-link-1",
    direction,
    nonce,
    clusterId,
    instance,
    role,
    keyId(key),
    cnonce,
    server,
    client,
    protocol,
  ];
  return createHmac("sha256", key).update(lines.join("\n")).digest("base64url");
}
const authorization = (role: string, key: string, nonce: string, mac: string, proto = "1-1"): string =>
  `Rain-HMAC role=${role}, id=${keyId(key)}, nonce=${nonce}, cnonce=${cnonce}, proto=${proto}, mac=${mac}`;
const tryUpgrade = (headers: Record<string, string>, port: number = setup.port): ReturnType<typeof http> =>
  http(port, linkPath, { headers: { Host: `127.0.0.1:${port}`, ...upgradeHeaders, ...headers } });

describe("a good handshake", () => {
  test("opens a link of a client and of a governor, and messages pass both ways", async () => {
    const client = await connectClient(setup);
    const governor = await connectGovernor(setup);
    const [first, second] = [await nextLink(setup, 1), await nextLink(setup, 2)];
    if (first.role !== "client" || second.role !== "governor") throw new Error("wrong roles");
    expect(second.id).toBeGreaterThan(first.id);
    expect(client.welcome).toEqual(first.welcome);
    expect(client.welcome).toMatchObject({ clusterId, instance, protocol: 1 });
    expect(client.welcome.token).not.toBe(governor.welcome.token);
    expect(first.remote).toMatch(/^127\.0\.0\.1:\d+$/);

    first.onMessage((message) => first.send({ type: "reply", req: message.req, ok: {} }));
    client.send({ type: "server.info", req: 7 });
    expect(await new Promise((resolve) => client.onMessage(resolve))).toEqual({
      type: "reply",
      req: 7,
      ok: {},
    });
    second.send({ type: "stop" });
    expect(await new Promise((resolve) => governor.onMessage(resolve))).toEqual({ type: "stop" });
    governor.send({ type: "leaving" });
    expect(await new Promise((resolve) => second.onMessage(resolve))).toEqual({ type: "leaving" });
    expect(setup.audit.map(({ verb, result, role }) => `${verb} ${result} ${role}`)).toEqual([
      "handshake accepted client",
      "handshake accepted governor",
      "leaving accepted governor",
    ]);
  });
  test("can be made from its description alone, and the server proves itself", async () => {
    const nonce = await challenge();
    const key = setup.keys.client;
    const answer = await tryUpgrade({
      Authorization: authorization("client", key, nonce, proof(key, "client", "client", nonce)),
    });
    expect(answer.status).toBe(101);
    expect(answer.headers["rain-protocol"]).toBe("1");
    expect(answer.headers["rain-proof"]).toBe(proof(key, "server", "client", nonce, "1-1", "1"));
  });
});

describe("a handshake is refused", () => {
  const expectRefused = (answer: { status: number; body: string }): void => {
    expect(answer).toMatchObject({ status: 401, body: "Unauthorized.\n" });
    expect(setup.links).toEqual([]);
  };
  test("with a wrong key, with the other role's key, for a viewer without its own", async () => {
    const error = await refusal(connectClient(setup, { key: createKey("client") }));
    expect(error.code).toBe("unauthorized");
    expect(error.message).toMatch(/does not accept this client key \(id [0-9a-f]{8}\).*keys\.client/);
    const other = await refusal(connectGovernor(setup, { key: setup.keys.client }));
    expect(other.code).toBe("unauthorized");
    expect(other.message).toContain("keys.governor");
    for (const text of [error.message, other.message, JSON.stringify(setup.audit)])
      for (const key of Object.values(setup.keys)) expect(text).not.toContain(key.slice(6));
    const nonce = await challenge();
    const mac = proof(setup.keys.client, "client", "viewer", nonce);
    expectRefused(
      await tryUpgrade({ Authorization: authorization("viewer", setup.keys.client, nonce, mac) }),
    );
    expect(setup.audit.map(({ result }) => result)).toEqual(["refused", "refused", "refused"]);
  });
  test("for a role without a key", async () => {
    const closed = await startGate({ keys: { client: setup.keys.client } });
    expect((await refusal(connectGovernor({ url: closed.url, keys: setup.keys }))).code).toBe("unauthorized");
    await closed.close();
  });
  test("without a proof, or with one that is not of the form", async () => {
    const nonce = await challenge();
    const good = authorization(
      "client",
      setup.keys.client,
      nonce,
      proof(setup.keys.client, "client", "client", nonce),
    );
    const headers = [
      undefined,
      "",
      "Basic abc",
      `Bearer ${setup.keys.client}`,
      "Rain-HMAC ",
      `${good}, mac=x`,
      good.replace("id=", "di="),
    ];
    for (const value of headers)
      expectRefused(await tryUpgrade(value === undefined ? {} : { Authorization: value }));
    expectRefused(await tryUpgrade({ Authorization: good.replace(/proto=1-1/, "proto=2-1") }));
    expectRefused(await tryUpgrade({ Authorization: good.slice(0, -1) }));
  });
  test("when the proof of another handshake is sent again", async () => {
    const key = setup.keys.client;
    const nonce = await challenge();
    const headers = {
      Authorization: authorization("client", key, nonce, proof(key, "client", "client", nonce)),
    };
    expect((await tryUpgrade(headers)).status).toBe(101);
    setup.links.length = 0;
    expectRefused(await tryUpgrade(headers));
    const fresh = await challenge();
    expectRefused(await tryUpgrade({ Authorization: headers.Authorization.replace(nonce, fresh) }));
  });
  test("when a proof of the other direction or another role is sent", async () => {
    const key = setup.keys.client;
    for (const [direction, role] of [
      ["server", "client"],
      ["token", "client"],
      ["client", "governor"],
    ] as const) {
      const nonce = await challenge();
      const mac = proof(key, direction, role, nonce);
      expectRefused(await tryUpgrade({ Authorization: authorization("client", key, nonce, mac) }));
    }
  });
  test("when the challenge is too old, and accepted just before", async () => {
    const key = setup.keys.client;
    const [old, fresh] = [await challenge(), await challenge()];
    const headers = (nonce: string): Record<string, string> => ({
      Authorization: authorization("client", key, nonce, proof(key, "client", "client", nonce)),
    });
    setup.clock.ms += limits.nonceMs - 5_000;
    expect((await tryUpgrade(headers(fresh))).status).toBe(101);
    setup.links.length = 0;
    setup.clock.ms += 5_001;
    expectRefused(await tryUpgrade(headers(old)));
  });
  test("when the challenge was never given, and each is used up by one attempt", async () => {
    const key = setup.keys.client;
    const made = "n".repeat(43);
    expectRefused(
      await tryUpgrade({
        Authorization: authorization("client", key, made, proof(key, "client", "client", made)),
      }),
    );
    const nonce = await challenge();
    expectRefused(await tryUpgrade({ Authorization: authorization("client", key, nonce, "m".repeat(43)) }));
    expectRefused(
      await tryUpgrade({
        Authorization: authorization("client", key, nonce, proof(key, "client", "client", nonce)),
      }),
    );
  });
  test("too often: no answer and no line, but who has the key still comes in", async () => {
    const attempts = limits.failedHandshakesPerSecond * 3;
    // A clock that stands still: the bucket does not fill again.
    const still = await startGate({ now: () => 0 });
    const results = await Promise.allSettled(
      Array.from({ length: attempts }, () => tryUpgrade({}, still.port)),
    );
    expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(
      limits.failedHandshakesPerSecond,
    );
    expect(still.audit).toHaveLength(limits.failedHandshakesPerSecond);
    await connectClient(still);
    await still.close();
  });
  test("on another path", async () => {
    expect(
      (await http(setup.port, "/other", { headers: { Host: `127.0.0.1:${setup.port}`, ...upgradeHeaders } }))
        .status,
    ).toBe(404);
  });
});

describe.each(roles)("case 45: a handshake as %s", (role) => {
  const others = roles.filter((each) => each !== role);
  const offer = async (key: string, direction: string, as: string, nonce?: string): Promise<string> => {
    const given = nonce ?? (await challenge());
    return authorization(role, key, given, proof(key, direction, as, given));
  };
  const expectDenied = async (what: string, value: string | undefined): Promise<void> => {
    const before = setup.audit.length;
    const headers = value === undefined ? {} : { Authorization: value };
    const answer = await tryUpgrade(headers);
    expect(answer, what).toMatchObject({ status: 401, body: "Unauthorized.\n" });
    expect(setup.audit.slice(before), what).toMatchObject([{ verb: "handshake", result: "refused" }]);
  };
  test("needs the key of the role, and a proof that is new, its own and in time", async () => {
    const key = setup.keys[role];
    await expectDenied("no key", undefined);
    for (const other of others) {
      await expectDenied(`the key of a ${other}`, await offer(setup.keys[other], "client", role));
      await expectDenied(`a proof made for a ${other}`, await offer(key, "client", other));
    }
    const used = await offer(key, "client", role);
    expect((await tryUpgrade({ Authorization: used })).status).toBe(101);
    await expectDenied("a replayed proof", used);
    await expectDenied("a mirrored proof", await offer(key, "server", role));
    const nonce = await challenge();
    setup.clock.ms += limits.nonceMs + 1;
    await expectDenied("an expired nonce", await offer(key, "client", role, nonce));
    expect((await tryUpgrade({ Authorization: await offer(key, "client", role) })).status).toBe(101);
  });
});

describe("case 46: a foreign page or name", () => {
  const hosts = (port: number): string[] => [
    "attacker.example",
    `attacker.example:${port}`,
    `0.0.0.0:${port}`,
    "127.0.0.1",
    `127.0.0.1:${port + 1}`,
    `127.0.0.1.attacker.example:${port}`,
    `user@127.0.0.1:${port}`,
  ];
  const origins = ["https://attacker.example", "null", "http://127.0.0.1", "http://10.0.0.1:7210"];
  test("is refused by its Host, on every request", async () => {
    for (const host of hosts(setup.port)) {
      expect((await http(setup.port, challengePath, { headers: { Host: host } })).status, host).toBe(403);
      const answer = await tryUpgrade({ Host: host }).catch(() => undefined);
      expect([403, undefined], host).toContain(answer?.status);
    }
    const names = [
      `127.0.0.1:${setup.port}`,
      `localhost:${setup.port}`,
      `LOCALHOST:${setup.port}`,
      `[::1]:${setup.port}`,
    ];
    for (const host of names)
      expect((await http(setup.port, challengePath, { headers: { Host: host } })).status, host).toBe(200);
  });
  test("is refused with no Host, or two", async () => {
    const good = `Host: 127.0.0.1:${setup.port}\r\n`;
    for (const [lines, status] of [
      ["", 400],
      ["Host:\r\n", 403],
      [`${good}Host: attacker.example\r\n`, 403],
      [good, 200],
    ]) {
      const socket = connect(setup.port, "127.0.0.1");
      socket.write(`GET ${challengePath} HTTP/1.1\r\n${lines}\r\n`);
      const [answer] = (await once(socket, "data")) as [Buffer];
      expect(answer.toString()).toMatch(new RegExp(`^HTTP/1.1 ${status} `));
      socket.destroy();
    }
  });
  test("is served under a name that the server was given", async () => {
    const named = await startGate({ hostNames: () => ["box.lan"] });
    const get = async (host: string): Promise<number> =>
      (await http(named.port, challengePath, { headers: { Host: `${host}:${named.port}` } })).status;
    expect([await get("box.lan"), await get("localhost")]).toEqual([200, 403]);
    await named.close();
  });
  test("is refused by its Origin, on an upgrade even with a good proof, and when it changes something", async () => {
    const key = setup.keys.client;
    for (const origin of [...origins, `https://127.0.0.1:${setup.port}`]) {
      const nonce = await challenge();
      const good = authorization("client", key, nonce, proof(key, "client", "client", nonce));
      expect((await tryUpgrade({ Origin: origin, Authorization: good })).status, origin).toBe(403);
      expect(
        (await http(setup.port, "/x", { method: "POST", headers: { Origin: origin } })).status,
        origin,
      ).toBe(403);
      expect((await http(setup.port, "/x", { headers: { Origin: origin } })).status, origin).toBe(401);
    }
    const own = { Origin: `http://127.0.0.1:${setup.port}` };
    expect((await http(setup.port, "/x", { method: "POST", headers: own })).status).toBe(401);
    expect(setup.links).toEqual([]);
  });
  test("is recorded", async () => {
    await tryUpgrade({ Origin: "null" });
    expect(setup.audit).toMatchObject([
      { verb: "handshake", result: "refused", detail: "the Origin header names another site" },
    ]);
  });
});

describe("case 42: versions", () => {
  test("the highest common one is spoken", async () => {
    const newer = await startGate({ protocol: { min: 2, max: 5 } });
    const link = await connectClient(newer, { protocol: { min: 1, max: 4 } });
    expect(link.welcome.protocol).toBe(4);
    expect((await nextLink(newer)).welcome.protocol).toBe(4);
    await newer.close();
  });
  test("a client that finds none says both ranges and which side to upgrade", async () => {
    const older = await refusal(connectClient(setup, { protocol: { min: 2, max: 3 } }));
    expect(older.code).toBe("version-mismatch");
    expect(older.message).toMatch(/client speaks versions 2-3 .* server 1-1: upgrade the server/);
    const newer = await startGate({ protocol: { min: 2, max: 3 } });
    const error = await refusal(connectGovernor(newer));
    expect(error.code).toBe("version-mismatch");
    expect(error.message).toMatch(/governor speaks versions 1-1 .* server 2-3: upgrade the governor/);
    expect(newer.links).toEqual([]);
    await newer.close();
  });
  test("a server that finds none says so before any frame", async () => {
    const key = setup.keys.client;
    const nonce = await challenge();
    const mac = proof(key, "client", "client", nonce, "4-5");
    const answer = await tryUpgrade({ Authorization: authorization("client", key, nonce, mac, "4-5") });
    expect(answer.status).toBe(426);
    expect(answer.body).toMatch(/4-5 .* 1-1: upgrade the server/);
    expect(setup.links).toEqual([]);
  });
});

describe("a client refuses", () => {
  /** Something on the server's port that does not know the key. */
  async function impostor(
    rainProof: (mac: string) => string[],
  ): Promise<{ url: string; close: () => Promise<void> }> {
    const body = { nonce: "n".repeat(43), clusterId, serverInstance: instance, protoMin: 1, protoMax: 1 };
    const server = createServer((_, res) => res.end(JSON.stringify(body)));
    const sockets: { destroy: () => void }[] = [];
    server.on("upgrade", (req, socket) => {
      sockets.push(socket);
      socket.on("error", () => socket.destroy());
      const mac = /mac=(.*)$/.exec(req.headers.authorization ?? "")?.[1] ?? "";
      const lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        ...rainProof(mac),
      ];
      socket.write(`${lines.join("\r\n")}\r\n\r\n`);
    });
    const port = await listen(server);
    const close = async (): Promise<void> => {
      for (const socket of sockets) socket.destroy();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    };
    return { url: `http://127.0.0.1:${port}`, close };
  }
  test.each<[string, (mac: string) => string[]]>([
    ["no proof", () => []],
    ["a made-up proof", () => ["Rain-Protocol: 1", `Rain-Proof: ${"p".repeat(43)}`]],
    ["its own proof mirrored", (mac) => ["Rain-Protocol: 1", `Rain-Proof: ${mac}`]],
    ["a proof of another length", () => ["Rain-Protocol: 1", "Rain-Proof: short"]],
    ["a version that was not offered", (mac) => ["Rain-Protocol: 9", `Rain-Proof: ${mac}`]],
  ])("a server with %s", async (_, rainProof) => {
    const { url, close } = await impostor(rainProof);
    const error = await refusal(connectClient({ url, keys: setup.keys }));
    expect(error.code).toBe("unauthorized");
    expect(error.message).toMatch(/could not prove that it knows the client key/);
    await close();
  });
  test("the server of another cluster, before it sends a proof", async () => {
    const error = await refusal(connectClient(setup, { clusterId: "cluster-2" }));
    expect(error.code).toBe("unauthorized");
    expect(error.message).toMatch(/cluster cluster-1, the access file to cluster-2/);
    expect(setup.audit).toEqual([]);
  });
  test("a port where nothing listens", async () => {
    const gone = await startGate();
    await gone.close();
    const error = await refusal(connectClient(gone));
    expect(error.code).toBe("connection");
    expect(error.message).toContain(`${gone.url} (connection refused)`);
    expect(error.message).toContain("Is the server running? Start it with: rain start --simple");
  });
  test("what is not a Rain server, and what never answers", async () => {
    const other = createServer((_, res) => res.end("<html>"));
    const url = `http://127.0.0.1:${await listen(other)}`;
    const error = await refusal(connectClient({ url, keys: setup.keys }));
    expect(error.code).toBe("connection");
    expect(error.message).toMatch(/not a Rain server/);
    other.removeAllListeners("request");
    const silent = await refusal(connectClient({ url, keys: setup.keys }, { timeoutMs: 100 }));
    expect(silent.code).toBe("connection");
    expect(silent.message).toMatch(/no answer in time/);
    other.closeAllConnections();
    other.close();
  });
  test("a server whose upgrade never ends", async () => {
    const body = { nonce: "n".repeat(43), clusterId, serverInstance: instance, protoMin: 1, protoMax: 1 };
    const half = createServer((_, res) => res.end(JSON.stringify(body)));
    const sockets: { destroy: () => void }[] = [];
    half.on("upgrade", (_, socket) => sockets.push(socket));
    const url = `http://127.0.0.1:${await listen(half)}`;
    const error = await refusal(connectClient({ url, keys: setup.keys }, { timeoutMs: 200 }));
    expect(error.message).toMatch(/no answer in time/);
    for (const socket of sockets) socket.destroy();
    half.close();
  });
});

describe("a token", () => {
  const get = (token: string): ReturnType<typeof http> =>
    http(setup.port, "/objects", { headers: { Authorization: `Rain-Token ${token}` } });
  test("is good while its link is open", async () => {
    const [client, governor] = [await connectClient(setup), await connectGovernor(setup)];
    const first = await nextLink(setup, 2).then(() => setup.links[0]);
    const { token } = client.welcome;
    expect(await get(token)).toMatchObject({ status: 200, body: `client ${first?.id}` });
    expect((await get(governor.welcome.token)).body).toMatch(/^governor /);
    for (const wrong of ["", "x".repeat(43), token.slice(1), `${token}x`, setup.keys.client])
      expect((await get(wrong)).status).toBe(401);
    expect((await http(setup.port, "/objects")).status).toBe(401);
    expect(setup.audit.filter(({ verb }) => verb === "token").length).toBeGreaterThan(0);
    expect(JSON.stringify(setup.audit)).not.toContain(token.slice(1));
    if (first === undefined) throw new Error("no link");
    const end = ended(first);
    client.close();
    await end;
    expect((await get(token)).status).toBe(401);
  });
});

test("a gate that closes ends its links and takes no more", async () => {
  const client = await connectClient(setup);
  const end = ended(client);
  await nextLink(setup);
  await setup.gate.close();
  expect(await end).toEqual({ code: 1001, reason: "the server is stopping" });
  expect((await refusal(connectClient(setup))).code).toBe("server-stopping");
});
