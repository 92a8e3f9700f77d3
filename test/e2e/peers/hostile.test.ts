import { once } from "node:events";
import type { Client } from "@rain/client";
import type { Access } from "@rain/protocol/access";
import type { RunningServer } from "@rain/server";
import seedrandom from "seedrandom";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { frame, frameCases, httpCases, pingFrame, upgradeCases, type HostileCase } from "./corpus.ts";
import { Peers } from "./kit.ts";
import { closeCode, rawLink, sendRaw, untilEnd } from "./raw.ts";

vi.setConfig({ testTimeout: 180_000, hookTimeout: 60_000 });

let peers: Peers;
let server: RunningServer;
let access: Access;
let witness: Client;
beforeEach(async () => {
  peers = await Peers.make();
  server = await peers.server();
  access = await peers.access();
  witness = await peers.client();
});
afterEach(async () => {
  // Whatever happened to others: this client's link was never lost, and the server still answers.
  expect((await witness.serverInfo()).version).toBe("test");
  expect(peers.lines.filter((line) => line.startsWith("error"))).toEqual([]);
  await peers.stop();
});

/** So many at once that the whole takes a moment, and so few that none is closed for want of room. */
const AT_ONCE = 64;
async function each<T extends HostileCase>(
  cases: readonly T[],
  attempt: (one: T) => Promise<void>,
): Promise<void> {
  for (let at = 0; at < cases.length; at += AT_ONCE) {
    await Promise.all(cases.slice(at, at + AT_ONCE).map(attempt));
    await witness.serverInfo();
  }
}

describe("case 37: bytes that no peer sends", () => {
  test("the corpus has at least 200 cases, each of them once", () => {
    const names = [...httpCases(1), ...upgradeCases(1), ...frameCases()].map(({ name }) => name);
    expect(names.length).toBeGreaterThanOrEqual(200);
    expect(new Set(names).size).toBe(names.length);
  });

  test("that are not HTTP, or not clearly, end their own connection", async () => {
    await each([...httpCases(server.port), ...upgradeCases(server.port)], async ({ name, bytes }) => {
      const { received } = await sendRaw(server.port, bytes);
      // Refused in words, cut, or (a request that is whole) answered with a refusal.
      expect(received.toString("latin1"), name).toMatch(/^($|HTTP\/1\.1 4\d\d )/);
    });
  });

  test("that are no frames or no messages end their own connection, with the right code", async () => {
    await each(frameCases(), async ({ name, bytes, codes }) => {
      const { received } = await untilEnd(await rawLink(access), bytes);
      expect(codes, `${name}: closed with ${closeCode(received)}`).toContain(closeCode(received));
    });
  });

  test("that are random end their own connection, before and after the handshake", async () => {
    const random = seedrandom("case 37");
    const noise = (): Buffer =>
      Buffer.from(Array.from({ length: 1 + Math.floor(random() * 400) }, () => random() * 256));
    const cases = Array.from({ length: 200 }, (_, at) => ({ name: `seed ${at}`, bytes: noise() }));
    await each(cases, async ({ name, bytes }) => {
      const { received } = await sendRaw(server.port, bytes);
      expect(received.toString("latin1"), name).toMatch(/^($|HTTP\/1\.1 4\d\d )/);
    });
    // After the handshake noise may be the start of a long frame: the rest of it comes too.
    await each(cases.slice(0, 100), async ({ bytes }) => {
      const socket = await rawLink(access);
      await untilEnd(socket, Buffer.concat([bytes, frame(3), frame(3, Buffer.alloc(70_000))]));
    });
  });

  test("a flood of pings whose answers are not read costs little memory, and the connection", async () => {
    const before = process.memoryUsage().rss;
    const socket = await rawLink(access);
    socket.pause();
    const flood = Buffer.concat(Array.from({ length: 5_000 }, () => pingFrame));
    const state = { ended: false };
    socket.on("error", () => undefined);
    socket.on("close", () => (state.ended = true));
    let sent = 0;
    while (!state.ended) {
      sent += flood.length;
      if (!socket.write(flood))
        await Promise.race([once(socket, "drain"), once(socket, "close")]).catch(() => undefined);
    }
    expect(sent).toBeGreaterThan(0);
    expect(process.memoryUsage().rss - before).toBeLessThan(200 * 2 ** 20);
  });
});
