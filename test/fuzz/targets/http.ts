import { once } from "node:events";
import { readFileSync, rmSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { challengePath, linkPath } from "@rain/protocol";
import { startServer, type RunningServer } from "@rain/server";
import { Mutator } from "../mutate.ts";
import type { Random } from "../random.ts";
import type { OpenTarget, Outcome, Target } from "../target.ts";

const zeros = "0".repeat(64);
const lines = (...all: string[]): Buffer => Buffer.from([...all, "", ""].join("\r\n"));

/** Requests as they come, and shapes that smuggle one in another. PORT stands for the server's. */
const corpus: readonly Buffer[] = [
  lines(`GET ${challengePath} HTTP/1.1`, "Host: 127.0.0.1:PORT", "Connection: close"),
  lines(`GET ${challengePath} HTTP/1.0`),
  lines(`HEAD ${challengePath} HTTP/1.1`, "Host: localhost:PORT", "Connection: close"),
  lines(
    `GET ${linkPath} HTTP/1.1`,
    "Host: 127.0.0.1:PORT",
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    `Authorization: Rain-HMAC role=client, id=${"A".repeat(43)}, cnonce=${"B".repeat(43)}, proto=1, mac=${"C".repeat(43)}`,
  ),
  lines(
    `GET /rain/v1/sessions/1/objects/7 HTTP/1.1`,
    "Host: 127.0.0.1:PORT",
    "Range: bytes=0-99",
    "Authorization: Rain-Ticket abc.def.ghi",
    "Connection: close",
  ),
  lines(
    `GET /rain/v1/sessions/1/tasks/7/stdout?offset=12 HTTP/1.1`,
    "Host: 127.0.0.1:PORT",
    "Authorization: Rain-Token abc",
    "Connection: close",
  ),
  Buffer.concat([
    lines(
      `PUT /rain/v1/blobs/${zeros} HTTP/1.1`,
      "Host: 127.0.0.1:PORT",
      "Authorization: Rain-Token TOKEN",
      "Content-Length: 5",
      "Connection: close",
    ),
    Buffer.from("hello"),
  ]),
  Buffer.concat([
    lines(
      `PUT /rain/v1/blobs/${zeros} HTTP/1.1`,
      "Host: 127.0.0.1:PORT",
      "Transfer-Encoding: chunked",
      "Content-Length: 3",
      "Origin: null",
    ),
    Buffer.from("5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: 127.0.0.1:PORT\r\n\r\n"),
  ]),
  Buffer.concat([
    lines("POST / HTTP/1.1", "Host: attacker.example", "Expect: 100-continue", "Transfer-Encoding: chunked"),
    Buffer.from("FFFFFFFFFFFFFFFF\r\n"),
  ]),
  lines("OPTIONS * HTTP/1.1", "Host: 127.0.0.1:PORT", "Origin: https://attacker.example"),
  lines("CONNECT 127.0.0.1:22 HTTP/1.1", "Host: 127.0.0.1:22"),
  lines("GET http://attacker.example/ HTTP/1.1", "Host: 0.0.0.0:PORT", ...Array(70).fill("X-A: b")),
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  Buffer.from([0x16, 0x03, 0x01, 0x00, 0x05, 0x01, 0x00, 0x00, 0x01, 0x00]),
];
const interesting = [...Buffer.from('\r\n :/?%,;=\0\t0129AZaz"-.*[]@#'), 0x7f, 0x80, 0xc3, 0xff];

interface Parts {
  readonly line: string;
  readonly headers: readonly string[];
  readonly body: string;
}
function partsOf(bytes: Buffer): Parts {
  const text = bytes.toString("latin1");
  const end = text.indexOf("\r\n\r\n");
  const [line = "", ...headers] = text.slice(0, end < 0 ? undefined : end).split("\r\n");
  return { line, headers, body: end < 0 ? "" : text.slice(end + 4) };
}

/** A request line, headers and a body of different requests: that is read further than changed bytes are. */
function mix(all: readonly Parts[], random: Random): Buffer {
  const base = random.pick(all);
  const headers = base.headers.filter(() => !random.oneIn(8));
  while (random.oneIn(2))
    headers.splice(random.below(headers.length + 1), 0, random.pick(random.pick(all).headers.concat("X: y")));
  const line = random.oneIn(3) ? random.pick(all).line : base.line;
  const body = random.oneIn(3) ? random.pick(all).body : base.body;
  return Buffer.from([line, ...headers, "", body].join(random.oneIn(12) ? "\n" : "\r\n"), "latin1");
}

/** The whole answer, until the server closes. This side ends after a while: what comes before that differs. */
async function exchange(port: number, bytes: Uint8Array, endAfterMs: number): Promise<Buffer> {
  const socket = connect(port, "127.0.0.1");
  const parts: Buffer[] = [];
  socket.on("data", (part) => parts.push(part));
  // A reset is a way to close; what came before it counts.
  socket.on("error", () => undefined);
  const closed = once(socket, "close");
  socket.write(bytes);
  const timer = setTimeout(() => socket.end(), endAfterMs);
  await closed;
  clearTimeout(timer);
  return Buffer.concat(parts);
}

/** Nobody has shown a key here, so an answer that gives or takes anything but a challenge is a hole. */
function checkAnswer(answer: string): void {
  if (answer === "") return;
  for (const [, status, after = ""] of answer.matchAll(/HTTP\/1\.1 (\d{3})[^]*?\r\n\r\n([^]{0,60})/g)) {
    if (status === "101" || status === "201" || status === "206")
      throw new Error(`it was answered ${status}`);
    // A challenge, in a chunk or not.
    if (status === "200" && after !== "" && !/^([0-9a-f]+\r\n)?\{"nonce":|^HTTP\//.test(after))
      throw new Error(`it was answered 200 with ${JSON.stringify(after)}`);
    if (status === "500") throw new Error(`it was answered 500: ${after}`);
  }
  if (!answer.startsWith("HTTP/1.1 "))
    throw new Error(`the answer is ${JSON.stringify(answer.slice(0, 100))}`);
}

async function challengeIsGiven(port: number): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${port}${challengePath}`);
  if (answer.status !== 200) throw new Error(`a good request was answered ${answer.status}`);
  await answer.text();
}

/** Raw bytes to a real server, on connections of strangers: each is closed, none gets in, and the server goes on. */
export const http: Target = {
  name: "http",
  atOnce: 8,
  // The server itself waits so long for headers.
  slowMs: 15_000,
  open: async () => {
    const home = await mkdtemp(join(tmpdir(), "rain-fuzz-http-"));
    process.once("exit", () => rmSync(home, { recursive: true, force: true }));
    const server: RunningServer = await startServer({
      instanceDir: home,
      listen: { host: "127.0.0.1", port: 0 },
      version: "fuzz",
      log: () => undefined,
    });
    const { port } = server;
    const withPort = corpus.map((bytes) =>
      Buffer.from(bytes.toString("latin1").replaceAll("PORT", String(port)), "latin1"),
    );
    const heads = withPort.map(partsOf);
    const make = (random: Random): Buffer => (random.oneIn(2) ? mix(heads, random) : bytewise(random));
    const bytewise = (random: Random): Buffer =>
      Buffer.from(new Mutator(withPort, interesting, 32_768).mutate(random));
    const keys = Object.values(
      (JSON.parse(readFileSync(server.accessFile, "utf8")) as { keys: object }).keys,
    );
    const target: OpenTarget = {
      run: async (random): Promise<Outcome> => {
        const answer = (await exchange(port, make(random), random.pick([0, 0, 20]))).toString("latin1");
        checkAnswer(answer);
        if (keys.some((key) => answer.includes(String(key)))) throw new Error("the answer holds a key");
        return answer.startsWith("HTTP/1.1 200") ? "accepted" : "refused";
      },
      show: (random) => JSON.stringify(make(random).toString("latin1")),
      check: async () => {
        await challengeIsGiven(port);
        const stored = await readdir(join(home, "uploads"));
        if (stored.length > 0) throw new Error(`it stored ${stored.join(", ")}`);
      },
      close: async () => {
        await server.stop();
        await rm(home, { recursive: true, force: true });
      },
    };
    return target;
  },
};
