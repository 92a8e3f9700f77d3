import { createHmac, randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { challengePath, limits, linkPath, type ClientRequest } from "@rain/protocol";
import { keyId } from "@rain/protocol/access";
import { encode } from "@rain/protocol/codec";
import type { ServerLink } from "@rain/protocol/link";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  clusterId,
  connectClient,
  connectGovernor,
  ended,
  http,
  instance,
  nextLink,
  rawUpgrade,
  startGate,
  type Setup,
} from "./link-fixture.ts";

let setup: Setup;
beforeEach(async () => {
  setup = await startGate();
});
afterEach(async () => {
  await setup.close();
});

/** A link of a client or governor on a raw socket. */
async function rawLink(role: "client" | "governor" = "client"): Promise<Socket> {
  const { nonce } = JSON.parse((await http(setup.port, challengePath)).body) as { nonce: string };
  const [key, cnonce] = [setup.keys[role], "c".repeat(43)];
  const lines = [
    "rain-link-1",
    "client",
    nonce,
    clusterId,
    instance,
    role,
    keyId(key),
    cnonce,
    "1-1",
    "1-1",
    "0",
  ];
  const mac = createHmac("sha256", key).update(lines.join("\n")).digest("base64url");
  const Authorization = `Rain-HMAC role=${role}, id=${keyId(key)}, nonce=${nonce}, cnonce=${cnonce}, proto=1-1, mac=${mac}`;
  return rawUpgrade(setup.port, linkPath, { Authorization });
}
/** A frame of a client: masked with zeros, which leaves the payload as it is. */
function frame(opcode: number, payload: Uint8Array, { fin = true, masked = true, rsv = 0 } = {}): Buffer {
  const { length } = payload;
  const size = length < 126 ? Buffer.alloc(1) : length < 65_536 ? Buffer.alloc(3) : Buffer.alloc(9);
  if (length < 126) size[0] = length;
  else if (length < 65_536) {
    size[0] = 126;
    size.writeUInt16BE(length, 1);
  } else {
    size[0] = 127;
    size.writeBigUInt64BE(BigInt(length), 1);
  }
  if (masked) size[0] = (size[0] ?? 0) | 0x80;
  const first = (fin ? 0x80 : 0) | rsv | opcode;
  return Buffer.concat([Buffer.of(first), size, Buffer.alloc(masked ? 4 : 0), payload]);
}
/** The code of the close frame that the server sends. */
async function closeCode(socket: Socket): Promise<number> {
  const parts: Buffer[] = [];
  socket.on("data", (part: Buffer) => {
    parts.push(part);
    if (part.includes(0x88)) socket.end();
  });
  socket.on("error", () => socket.destroy());
  if (!socket.closed) await once(socket, "close");
  const bytes = Buffer.concat(parts);
  const at = bytes.indexOf(0x88);
  return at < 0 ? 0 : bytes.readUInt16BE(at + 2);
}
const request: ClientRequest = { type: "server.info", req: 1 };
const messagesOf = (link: ServerLink): unknown[] => {
  const messages: unknown[] = [];
  link.onMessage((message: unknown) => messages.push(message));
  return messages;
};

describe("what is not a message ends that link only", () => {
  const BINARY = 2;
  const nested = Buffer.alloc(200_000, 0x91);
  test.each<[string, number, () => Buffer, RegExp]>([
    [
      "random bytes in a frame",
      1008,
      () => frame(BINARY, Buffer.concat([Buffer.of(0xc1), randomBytes(500)])),
      /byte 0: byte c1/,
    ],
    ["an empty frame", 1008, () => frame(BINARY, new Uint8Array(0)), /byte 0: ends/],
    ["a text frame", 1003, () => frame(1, Buffer.from("hello")), /a text frame/],
    ["a text frame that is not UTF-8", 1007, () => frame(1, Buffer.of(0xff, 0xfe)), /UTF-8/],
    ["a frame without a mask", 1002, () => frame(BINARY, encode(request), { masked: false }), /MASK/],
    ["a frame with reserved bits", 1002, () => frame(BINARY, encode(request), { rsv: 0x40 }), /RSV1/],
    ["an unknown opcode", 1002, () => frame(5, encode(request)), /opcode 5/],
    [
      "a frame that is too large",
      1009,
      () => frame(BINARY, new Uint8Array(limits.messageBytes + 1)),
      /payload size/,
    ],
    [
      "too many fragments",
      1008,
      () =>
        Buffer.concat([
          frame(BINARY, Buffer.of(1), { fin: false }),
          ...Array.from({ length: 100 }, () => frame(0, Buffer.of(1), { fin: false })),
        ]),
      /fragments/,
    ],
    ["nested lists", 1008, () => frame(BINARY, nested), /deeper than 32/],
    ["an extension", 1008, () => frame(BINARY, Buffer.from("81a161d40001", "hex")), /extension/],
    ["a number without a name", 1008, () => frame(BINARY, Buffer.of(7)), /request: /],
    [
      "a request without a number",
      1008,
      () => frame(BINARY, encode({ type: "server.info" })),
      /server\.info: req: /,
    ],
  ])("%s", async (_, code, bytes, detail) => {
    const other = await connectClient(setup);
    const otherMessages = messagesOf(await nextLink(setup));
    const socket = await rawLink();
    const link = await nextLink(setup, 2);
    const end = ended(link);
    const closed = closeCode(socket);
    socket.write(bytes());
    expect(await closed).toBe(code);
    await end;
    const entry = setup.audit.find(({ verb }) => verb === "message");
    expect(entry).toMatchObject({ result: "refused", connection: link.id, role: "client" });
    expect(entry?.detail).toMatch(detail);
    other.send(request);
    await vi.waitFor(() => expect(otherMessages).toEqual([request]), 10_000);
  });
  test("bytes that are no frames at all", async () => {
    for (let round = 0; round < 50; round++) {
      const socket = await rawLink();
      const closed = closeCode(socket);
      socket.end(randomBytes(2_000));
      await closed;
    }
    await connectClient(setup);
  });
  test("nothing after it is looked at", async () => {
    const socket = await rawLink();
    const messages = messagesOf(await nextLink(setup));
    const closed = closeCode(socket);
    socket.write(Buffer.concat([frame(2, Buffer.of(0xc1)), frame(2, encode(request))]));
    expect(await closed).toBe(1008);
    expect(messages).toEqual([]);
  });
});

describe("a message that is not valid", () => {
  test("of a client is answered with its error, and the link goes on", async () => {
    const client = await connectClient(setup);
    const messages = messagesOf(await nextLink(setup));
    const answers: unknown[] = [];
    client.onMessage((message) => answers.push(message));
    const bad: object[] = [
      { type: "next", req: 1, session: 1, from: -1 },
      { type: "next", req: 2, session: 1 },
      { type: "nonsense", req: 3 },
      { req: 4 },
      { type: "next", req: 5, session: Number.NaN, from: 0 },
      { type: "server.info", req: 6, extra: true },
    ];
    for (const message of bad) client.send(message as ClientRequest);
    client.send(request);
    await vi.waitFor(() => expect(messages).toEqual([request]), 10_000);
    await vi.waitFor(() => expect(answers).toHaveLength(bad.length), 10_000);
    const places = [
      "next: from: ",
      "next: from: ",
      "request: type: ",
      "request: type: ",
      "next: session: ",
      "server.info: ",
    ];
    for (const [index, place] of places.entries()) {
      const message: unknown = expect.stringContaining(place);
      expect(answers[index]).toMatchObject({
        type: "error",
        req: index + 1,
        error: { code: "bad-message", message },
      });
    }
  });
  test("of a governor ends its link and says why", async () => {
    const governor = await connectGovernor(setup);
    const end = ended(governor);
    governor.send({ type: "heartbeat", loopDelayMs: -1 });
    expect(await end).toMatchObject({
      code: 1008,
      reason: expect.stringContaining("loopDelayMs: ") as string,
    });
    expect(setup.audit.at(-1)).toMatchObject({ verb: "message", result: "refused", role: "governor" });
  });
  test("a request on the link of a governor, and a report on that of a client", async () => {
    const governor = await connectGovernor(setup);
    const end = ended(governor);
    governor.send(request as never);
    expect((await end).code).toBe(1008);
    const client = await connectClient(setup);
    const clientEnd = ended(client);
    client.send({ type: "leaving" } as never);
    expect((await clientEnd).code).toBe(1008);
  });
  test("of the server ends the link on the client's side", async () => {
    const client = await connectClient(setup);
    const end = ended(client);
    (await nextLink(setup)).send({ type: "reply", req: -1, ok: {} } as never);
    expect(await end).toMatchObject({ code: 1008, reason: expect.stringContaining("req: ") as string });
  });
  test("that is too large is refused where it is sent", async () => {
    const client = await connectClient(setup);
    expect(() =>
      client.send({ ...request, extra: "x".repeat(limits.messageBytes) } as ClientRequest),
    ).toThrow(expect.objectContaining({ code: "limit-exceeded" }) as Error);
  });
});

describe("a link", () => {
  test("keeps messages, and its end, until there is someone to hear", async () => {
    const client = await connectClient(setup);
    const sent = Array.from({ length: 100 }, (_, req) => ({ type: "server.info", req }) as const);
    for (const message of sent) client.send(message);
    const link = await nextLink(setup);
    const end = ended(client);
    client.close(1000, "done");
    expect(await end).toEqual({ code: 1000, reason: "done" });
    await vi.waitFor(async () => expect(await ended(link)).toEqual({ code: 1000, reason: "done" }), 10_000);
    expect(messagesOf(link)).toEqual(sent);
  });
  test("does nothing on a send after the end, and ends once", async () => {
    const client = await connectClient(setup);
    const link = await nextLink(setup);
    const ends: unknown[] = [];
    link.onClose((closed) => ends.push(closed));
    link.close(4000, "é".repeat(100));
    link.close(4001);
    link.send({ type: "reply", req: 1, ok: {} } as never);
    const { code, reason } = await ended(client);
    expect(code).toBe(4000);
    expect(reason).toBe("é".repeat(61));
    await vi.waitFor(() => expect(ends).toHaveLength(1), 10_000);
    client.send(request);
  });
  test("tells when the peer is gone without a word", async () => {
    const socket = await rawLink();
    const end = ended(await nextLink(setup));
    socket.resetAndDestroy();
    expect((await end).code).toBe(1006);
  });

  const reply = { type: "reply", req: 1, ok: new Uint8Array(1_048_576) } as never;
  test("stops reading from a peer that does not read, and goes on when it does", async () => {
    const socket = await rawLink();
    const link = await nextLink(setup);
    const messages = messagesOf(link);
    socket.pause();
    while (link.bufferedBytes <= limits.pauseAtBufferedBytes) link.send(reply);
    socket.write(frame(2, encode(request)));
    // A round trip of another link: what the first one sent has had its time.
    const other = await connectClient(setup);
    const otherMessages = messagesOf(await nextLink(setup, 2));
    other.send(request);
    await vi.waitFor(() => expect(otherMessages).toEqual([request]), 10_000);
    expect(messages).toEqual([]);
    socket.resume();
    await vi.waitFor(() => expect(messages).toEqual([request]), 10_000);
    await vi.waitFor(() => expect(link.bufferedBytes).toBe(0), 10_000);
    socket.destroy();
  });
  test("is cut when a peer leaves too much unread", async () => {
    const socket = await rawLink();
    const link = await nextLink(setup);
    const end = ended(link);
    socket.pause();
    // Each send in a turn of its own, so that the system takes what it can.
    for (let sent = 0; sent < 100; sent++) {
      link.send(reply);
      await new Promise(setImmediate);
    }
    expect(await end).toMatchObject({
      code: 1006,
      reason: expect.stringMatching(/left \d+ bytes unread/) as string,
    });
    socket.destroy();
  });
});

describe("signs of life", () => {
  test("keep a quiet link open, and a peer that gives none is given up", async () => {
    const quick = await startGate({ keepaliveMs: 50 });
    const client = await connectClient(quick, { keepaliveMs: 50 });
    const link = await nextLink(quick);
    let over = false;
    link.onClose(() => (over = true));
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(over).toBe(false);
    client.close();

    const before = setup;
    setup = quick;
    const socket = await rawLink();
    setup = before;
    const silent = await nextLink(quick, 2);
    // The raw socket answers no ping.
    expect(await ended(silent)).toMatchObject({
      code: 1006,
      reason: expect.stringContaining("no sign of life") as string,
    });
    socket.destroy();
    await quick.close();
  });
  test("a peer that takes nothing is given up, also while reading is paused", async () => {
    const quick = await startGate({ keepaliveMs: 50 });
    const before = setup;
    setup = quick;
    const socket = await rawLink();
    setup = before;
    const link = await nextLink(quick);
    socket.pause();
    while (link.bufferedBytes <= limits.pauseAtBufferedBytes)
      link.send({ type: "reply", req: 1, ok: new Uint8Array(1_048_576) } as never);
    expect((await ended(link)).reason).toContain("no sign of life");
    socket.destroy();
    await quick.close();
  });
});

test("an upgrade that goes away at once disturbs nobody", async () => {
  for (let round = 0; round < 20; round++) {
    const socket = connect(setup.port, "127.0.0.1");
    socket.on("error", () => socket.destroy());
    await once(socket, "connect");
    socket.write(
      `GET ${linkPath} HTTP/1.1\r\nHost: 127.0.0.1:${setup.port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`,
    );
    socket.resetAndDestroy();
  }
  await connectClient(setup);
});
