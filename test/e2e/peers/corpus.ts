/** What no honest peer sends, as tables: bytes on a raw socket. */

export interface HostileCase {
  readonly name: string;
  readonly bytes: Buffer;
}
const text = (name: string, ...parts: readonly string[]): HostileCase => ({
  name,
  bytes: Buffer.from(parts.join(""), "latin1"),
});

const END = "\r\n\r\n";
const targets = ["/rain/v1/challenge", "/rain/v1/link", `/rain/v1/blobs/${"0".repeat(64)}`] as const;

/** Requests that are not HTTP, that two programs could read in two ways, or that are beyond every limit. */
export function httpCases(port: number): HostileCase[] {
  const host = `Host: 127.0.0.1:${port}`;
  const startLines: readonly (readonly [string, string])[] = [
    ["no method", " /rain/v1/challenge HTTP/1.1"],
    ["a method in two words", "G ET /rain/v1/challenge HTTP/1.1"],
    ["an unknown method", "GRAB /rain/v1/challenge HTTP/1.1"],
    ["a method in lower case", "get /rain/v1/challenge HTTP/1.1"],
    ["a NUL in the method", "GE\0T /rain/v1/challenge HTTP/1.1"],
    ["a method without end", `${"G".repeat(5_000)} / HTTP/1.1`],
    ["no target", "GET  HTTP/1.1"],
    ["a target with a space", "GET /rain/v1/ challenge HTTP/1.1"],
    ["a target with a NUL", "GET /rain/v1/\0 HTTP/1.1"],
    ["a target with a control character", "GET /rain/v1/\x07 HTTP/1.1"],
    ["a target that starts nowhere", "GET rain/v1/challenge HTTP/1.1"],
    ["a target of 20,000 characters", `GET /${"a".repeat(20_000)} HTTP/1.1`],
    ["a tunnel", `CONNECT 127.0.0.1:${port} HTTP/1.1`],
    ["a tunnel without a target", "CONNECT HTTP/1.1"],
    ["a version without end", `GET / HTTP/1.${"1".repeat(5_000)}`],
    ["no version", "GET /rain/v1/link"],
    ["version 0.9", "GET /rain/v1/link HTTP/0.9"],
    ["version 1.2", "GET /rain/v1/link HTTP/1.2"],
    ["version 2", "GET /rain/v1/link HTTP/2.0"],
    ["version in lower case", "GET /rain/v1/link http/1.1"],
    ["version with a tail", "GET /rain/v1/link HTTP/1.1x"],
    ["another protocol", "GET /rain/v1/link ICE/1.1"],
    ["the preface of HTTP/2", "PRI * HTTP/2.0"],
    ["the start of TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
    ["SSH", "SSH-2.0-OpenSSH_9.0"],
    ["a mail", "EHLO example"],
    ["RESP", "*1\r\n$4\r\nPING"],
  ];
  const starts = startLines.map(([name, line]) => text(`start line: ${name}`, line, `\r\n${host}`, END));

  const headerLines: readonly (readonly [string, string])[] = [
    ["no colon", "Broken"],
    ["a space before the colon", "Content-Length : 0"],
    ["no name", ": x"],
    ["a folded line", "X: a\r\n b"],
    ["a NUL in a value", "X: a\0b"],
    ["a bare CR in a value", "X: a\rb"],
    ["a control character in a value", "X: a\x07b"],
    ["a name that is not a token", "X(y): z"],
    ["a name that is not ASCII", "X\xff: z"],
    ["two hosts", "Host: attacker.example"],
    ["two lengths", "Content-Length: 5\r\nContent-Length: 6"],
    ["a list of lengths", "Content-Length: 5, 5"],
    ["a negative length", "Content-Length: -1"],
    ["a length in hexadecimal", "Content-Length: 0x5"],
    ["a length with a sign", "Content-Length: +5"],
    ["a length with an exponent", "Content-Length: 1e3"],
    ["an empty length", "Content-Length: "],
    ["a length beyond 64 bits", "Content-Length: 99999999999999999999999"],
    ["a length and chunks", "Content-Length: 5\r\nTransfer-Encoding: chunked"],
    ["chunks and a length", "Transfer-Encoding: chunked\r\nContent-Length: 5"],
    ["another encoding", "Transfer-Encoding: xchunked"],
    ["chunks that are not last", "Transfer-Encoding: chunked, identity"],
    ["chunks after a control character", "Transfer-Encoding: \x0bchunked"],
    ["chunks in quotes", 'Transfer-Encoding: "chunked"'],
    ["a header of 20,000 characters", `X: ${"a".repeat(20_000)}`],
    ["a name of 20,000 characters", `${"a".repeat(20_000)}: x`],
    ["65 headers", Array.from({ length: 65 }, (_, at) => `X-${at}: y`).join("\r\n")],
    ["2,000 headers", Array.from({ length: 2_000 }, (_, at) => `X-${at}: y`).join("\r\n")],
    ["an expectation that nobody knows", "Expect: the-unexpected"],
    ["another origin", "Origin: https://attacker.example\r\nUpgrade: websocket\r\nConnection: Upgrade"],
    ["another protocol to go on with", "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings"],
  ];
  const headers = targets.flatMap((target) =>
    headerLines.map(([name, line]) =>
      text(
        `header at ${target.slice(9, 18)}: ${name}`,
        `PUT ${target} HTTP/1.1\r\n${host}\r\n${line}`,
        END,
        "AAAAA",
      ),
    ),
  );

  const chunks: readonly (readonly [string, string])[] = [
    ["no number", "zz\r\nhello\r\n0\r\n\r\n"],
    ["a negative number", "-5\r\nhello\r\n0\r\n\r\n"],
    ["0x", "0x5\r\nhello\r\n0\r\n\r\n"],
    ["beyond 64 bits", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"],
    ["a space before the number", " 5\r\nhello\r\n0\r\n\r\n"],
    ["LF only", "5\nhello\n0\n\n"],
    ["more bytes than it says", "2\r\nhello\r\n0\r\n\r\n"],
    ["an extension of 20,000 characters", `5;${"a".repeat(20_000)}\r\nhello\r\n0\r\n\r\n`],
    ["a NUL in an extension", "5;a=\0\r\nhello\r\n0\r\n\r\n"],
    ["trailers of 20,000 characters", `0\r\nX: ${"a".repeat(20_000)}\r\n\r\n`],
  ];
  const chunked = targets.flatMap((target) =>
    chunks.map(([name, body]) =>
      text(
        `chunk at ${target.slice(9, 18)}: ${name}`,
        `PUT ${target} HTTP/1.1\r\n${host}\r\nTransfer-Encoding: chunked`,
        END,
        body,
      ),
    ),
  );

  const hosts: readonly string[] = [
    "attacker.example",
    `0.0.0.0:${port}`,
    "null",
    "",
    `127.0.0.1:${port}:1`,
    `127.0.0.1:${port}/`,
    `x@127.0.0.1:${port}`,
    `[::1`,
    `127.0.0.1 :${port}`,
    `127.0.0.1:${port} attacker.example`,
  ];
  const named = hosts.map((name) => text(`host ${name}`, `GET /rain/v1/link HTTP/1.1\r\nHost: ${name}`, END));
  const lines = [
    text("line ends: CR only", `GET / HTTP/1.1\r${host}\r\r`),
    text("line ends: two CRs", `GET / HTTP/1.1\r\r\n${host}\r\r\n\r\r\n`),
    text("no host", "GET /rain/v1/link HTTP/1.1", END),
    text("cut in the start line", "GET /rain"),
    text("cut in a header", `GET / HTTP/1.1\r\nHost: 127`),
    text("cut before the end", `GET / HTTP/1.1\r\n${host}\r\n`),
    text("cut in a body", `PUT /rain/v1/x HTTP/1.1\r\n${host}\r\nContent-Length: 9999999`, END, "x"),
    text("a thousand empty lines", "\r\n".repeat(1_000)),
    text("a thousand NULs", "\0".repeat(1_000)),
  ];
  return [...starts, ...headers, ...chunked, ...named, ...lines];
}

/** Upgrades that are not of the form, and proofs that are none. */
export function upgradeCases(port: number): HostileCase[] {
  const usual = {
    Host: `127.0.0.1:${port}`,
    Connection: "Upgrade",
    Upgrade: "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
  };
  const secret = "a".repeat(43);
  const offer = (change: string): string =>
    `Rain-HMAC role=client, id=00000000, nonce=${secret}, cnonce=${secret}, proto=1-1, mac=${secret}`.replace(
      /role=client/,
      change,
    );
  const changes: readonly (readonly [string, Readonly<Record<string, string | undefined>>])[] = [
    ["no proof", {}],
    ["no key", { "Sec-WebSocket-Key": undefined }],
    ["a short key", { "Sec-WebSocket-Key": "AA==" }],
    ["another version", { "Sec-WebSocket-Version": "7" }],
    ["no version", { "Sec-WebSocket-Version": undefined }],
    ["a version of words", { "Sec-WebSocket-Version": "new" }],
    ["extensions that are broken", { "Sec-WebSocket-Extensions": "permessage-deflate; =;" }],
    ["a protocol that is broken", { "Sec-WebSocket-Protocol": "a,,b" }],
    ["a basic password", { Authorization: "Basic eDp5" }],
    ["a bearer", { Authorization: `Bearer ${secret}` }],
    ["a proof of nothing", { Authorization: "Rain-HMAC " }],
    ["a made-up proof", { Authorization: offer("role=client") }],
    ["an unknown role", { Authorization: offer("role=admin") }],
    ["two roles", { Authorization: offer("role=client, role=governor") }],
    ["a role with a line end", { Authorization: offer("role=cli\tent") }],
    ["a proof of 8,000 characters", { Authorization: offer(`role=${"c".repeat(8_000)}`) }],
    ["an own origin with another scheme", { Origin: `https://127.0.0.1:${port}` }],
    ["an origin null", { Origin: "null" }],
    ["an origin that is an address", { Origin: "http://10.0.0.1" }],
  ];
  return changes.map(([name, change]) => {
    const lines = Object.entries({ ...usual, ...change }).flatMap(([key, value]) =>
      value === undefined ? [] : [`${key}: ${value}`],
    );
    return text(`upgrade: ${name}`, `GET /rain/v1/link HTTP/1.1\r\n${lines.join("\r\n")}`, END);
  });
}

/** A frame as a client sends it, with every field as one likes. */
export function frame(
  opcode: number,
  payload: Buffer = Buffer.of(),
  { fin = true, rsv = 0, masked = true, length }: FrameOptions = {},
): Buffer {
  const says = length ?? BigInt(payload.length);
  const mask = masked ? 0x80 : 0;
  const first = (fin ? 0x80 : 0) | (rsv << 4) | opcode;
  const head =
    says < 126n
      ? Buffer.of(first, mask | Number(says))
      : says < 65_536n
        ? Buffer.concat([Buffer.of(first, mask | 126), shortOf(Number(says))])
        : Buffer.concat([Buffer.of(first, mask | 127), longOf(says)]);
  return Buffer.concat([head, masked ? Buffer.alloc(4) : Buffer.of(), payload]);
}
interface FrameOptions {
  readonly fin?: boolean;
  readonly rsv?: number;
  readonly masked?: boolean;
  /** What it says of its length. */
  readonly length?: bigint;
}
function shortOf(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}
function longOf(value: bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(value);
  return bytes;
}

const CONTINUE = 0;
const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;

export interface HostileFrames extends HostileCase {
  /** Codes with which the connection may be closed; none for a peer that is cut off. */
  readonly codes: readonly number[];
}

/** Frames on a connection that has proved who it is. */
export function frameCases(): HostileFrames[] {
  const bad = [1002];
  const cases: HostileFrames[] = [];
  const add = (name: string, codes: readonly number[], ...frames: readonly Buffer[]): void =>
    void cases.push({ name: `frame: ${name}`, codes, bytes: Buffer.concat(frames) });
  for (const opcode of [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]) add(`opcode ${opcode}`, bad, frame(opcode));
  for (let rsv = 1; rsv <= 7; rsv++)
    add(`reserved bits ${rsv}`, bad, frame(BINARY, Buffer.of(0xc0), { rsv }));
  for (const opcode of [CONTINUE, TEXT, BINARY, CLOSE, PING, PONG])
    add(`opcode ${opcode} without a mask`, bad, frame(opcode, Buffer.of(), { masked: false }));
  for (const opcode of [CLOSE, PING, PONG]) {
    add(`control frame ${opcode} of 126 bytes`, bad, frame(opcode, Buffer.alloc(126)));
    add(`control frame ${opcode} in fragments`, bad, frame(opcode, Buffer.of(), { fin: false }));
  }
  add("a continuation of nothing", bad, frame(CONTINUE, Buffer.of(1)));
  add(
    "a message within a message",
    bad,
    frame(BINARY, Buffer.of(1), { fin: false }),
    frame(BINARY, Buffer.of(1)),
  );
  add("text", [1003], frame(TEXT, Buffer.from("{}")));
  add("text that is not UTF-8", [1007], frame(TEXT, Buffer.of(0xff, 0xfe)));
  add("a close of one byte", bad, frame(CLOSE, Buffer.of(3)));
  for (const code of [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535])
    add(`close code ${code}`, bad, frame(CLOSE, shortOf(code)));
  add("a close that is not UTF-8", [1007], frame(CLOSE, Buffer.concat([shortOf(1000), Buffer.of(0xff)])));
  for (const length of [4_194_305n, 2n ** 31n, 2n ** 32n, 2n ** 53n - 1n])
    add(`a message of ${length} bytes`, [1009], frame(BINARY, Buffer.of(), { length }));
  for (const length of [2n ** 53n, 2n ** 63n, 2n ** 64n - 1n])
    add(`a message of ${length} bytes`, [1002, 1009], frame(BINARY, Buffer.of(), { length }));
  const part = (fin: boolean): Buffer => frame(CONTINUE, Buffer.of(0), { fin });
  add(
    "a message in 100 fragments",
    [1002, 1008, 1009],
    frame(BINARY, Buffer.of(0), { fin: false }),
    ...Array.from({ length: 100 }, () => part(false)),
  );
  add(
    "a message in 100,000 fragments",
    [1002, 1008, 1009],
    frame(BINARY, Buffer.of(0), { fin: false }),
    ...Array.from({ length: 100_000 }, () => part(false)),
  );
  const messages: readonly (readonly [string, readonly number[]])[] = [
    ["nothing", []],
    ["nil", [0xc0]],
    ["a number", [0x01]],
    ["a text", [0xa1, 0x61]],
    ["a list", [0x90]],
    ["an empty map", [0x80]],
    ["a map that is cut", [0x81, 0xa4, 0x74]],
    ["two values", [0x80, 0x80]],
    ["an unknown byte", [0xc1]],
    ["an extension", [0xd4, 0x01, 0x00]],
    ["a map of 2^32 - 1", [0xdf, 0xff, 0xff, 0xff, 0xff]],
    ["a list of 2^32 - 1", [0xdd, 0xff, 0xff, 0xff, 0xff]],
    ["a text of 2^32 - 1", [0xdb, 0xff, 0xff, 0xff, 0xff]],
    ["bytes of 2^32 - 1", [0xc6, 0xff, 0xff, 0xff, 0xff]],
    ["1,000 lists in each other", Array.from({ length: 1_000 }, () => 0x91)],
    ["a key __proto__", [0x81, 0xa9, ...Buffer.from("__proto__"), 0x80]],
    ["a key twice", [0x82, 0xa1, 0x61, 0x01, 0xa1, 0x61, 0x02]],
    ["a text that is not UTF-8", [0x81, 0xa4, ...Buffer.from("type"), 0xa1, 0xff]],
  ];
  for (const [name, bytes] of messages) add(`message: ${name}`, [1008], frame(BINARY, Buffer.from(bytes)));
  return cases;
}

export const pingFrame: Buffer = frame(PING, Buffer.alloc(125));
