import { mkdtemp, open, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { connect, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, expect, it } from "vitest";
import { asDigest, blobPath } from "@rain/protocol";
import { signTicket } from "@rain/protocol/tickets";
import { Agents } from "@rain/protocol/tls";
import { BlobStore } from "../../packages/governor/src/store/index.ts";
import { DataPort } from "../../packages/governor/src/transfer/index.ts";
import { passThrough } from "../../packages/server/src/http/proxy.ts";

// A reader that takes a kilobyte now and then of ten gigabytes: what its senders hold for it must not grow.

const SIZE = 10 * 1024 ** 3;
const digest = asDigest("35".repeat(32));
const path = blobPath(digest);
const key: Uint8Array = new Uint8Array(32).fill(9);
const ticket = signTicket(key, { method: "GET", path, epoch: 1 });
/** What both senders together may hold for it, bytes: far more than they do, and far less than all. */
const MOST_HELD = 64 * 1024 ** 2;

let root: string;
let port: DataPort;
let portNumber: number;
let server: Server;
let passed: Promise<boolean> | undefined;
const said: string[] = [];
const agents = new Agents();

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "rain-slow-"));
  const store = await BlobStore.open(join(root, "governor"));
  const incoming = store.incomingPath();
  const file = await open(incoming, "wx");
  await file.truncate(SIZE); // sparse: it takes no room
  await file.close();
  await store.install(incoming, digest);
  said.length = 0;
  port = new DataPort({
    store,
    logFile: () => undefined,
    log: (_level, text) => said.push(text),
    audit: ({ verb, result }) => said.push(`${verb} ${result}`),
  });
  port.addKey(1, key);
  portNumber = await port.listen("127.0.0.1");
  const governor = {
    url: `http://127.0.0.1:${portNumber}`,
    fingerprint: undefined,
    ticketKey: key,
    epoch: 1,
  };
  server = createServer((_request, response) => {
    const asked = { path, query: "", range: undefined, isLarge: true };
    passed = passThrough(agents, governor, asked, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
});
afterEach(async () => {
  agents.destroy();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  await port.close();
  await rm(root, { recursive: true, force: true });
});

/** Asks for all of it and then reads nothing. */
async function ask(at: number): Promise<Socket> {
  const socket = connect({ port: at, host: "127.0.0.1" });
  await new Promise((resolve) => socket.once("connect", resolve));
  socket.pause();
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Rain-Ticket ${ticket}\r\n\r\n`);
  return socket;
}

const held = (): number => process.memoryUsage().rss;

/** Reads a little at a time; answers how much came. */
async function readSlowly(socket: Socket, rounds: number): Promise<number> {
  let bytes = 0;
  for (let round = 0; round < rounds; round += 1) {
    await delay(50);
    bytes += ((socket.read(1_024) as Buffer | null) ?? Buffer.of()).length;
  }
  return bytes;
}

it("case 35: ten gigabytes for a reader of some kilobytes a second hold no memory of their senders", async () => {
  for (const at of [portNumber, (server.address() as AddressInfo).port]) {
    const before = held();
    const socket = await ask(at);
    const bytes = await readSlowly(socket, 60);
    // It moves, so that nobody gave it up, and what it did not take waits in the file.
    expect(bytes).toBeGreaterThan(0);
    expect(held() - before).toBeLessThan(MOST_HELD);
    expect(socket.destroyed).toBe(false);
    socket.destroy();
  }
  // The server noticed that its reader is gone, and lets go of the governor.
  expect(await passed).toBe(true);
  await expect.poll(() => port.sending, { timeout: 30_000 }).toBe(0);
  expect(said).toEqual([]);
}, 120_000);
