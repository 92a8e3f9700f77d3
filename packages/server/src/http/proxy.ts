import { request as httpRequest, type ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import { isLoopbackHost } from "@rain/protocol";
import { CHUNK_BYTES, openBytes, type Bytes } from "@rain/protocol/bytes";
import { signTicket } from "@rain/protocol/tickets";
import type { Agents, Pin } from "@rain/protocol/tls";
import { respondBytes } from "./respond.ts";

/** Where a governor's data port is, and the key of its tickets. */
export interface DataPort {
  readonly url: string;
  /** Of the certificate that it shows; absent on loopback. */
  readonly fingerprint: string | undefined;
  readonly ticketKey: Uint8Array;
  readonly epoch: number;
}

/** Why a data port cannot be used, in words for who started the governor; undefined when it can. */
export function dataPortProblem(
  dataUrl: string,
  fingerprint: string | undefined,
  isNear: boolean,
): string | undefined {
  const url = URL.canParse(dataUrl) ? new URL(dataUrl) : undefined;
  if (url === undefined || url.href !== `${url.origin}/`)
    return "the address of the data port is not http(s)://host:port";
  if (url.protocol === "https:")
    return fingerprint === undefined
      ? "the data port speaks TLS, but its certificate was not told"
      : undefined;
  if (url.protocol !== "http:" || !isLoopbackHost(url.hostname))
    return `the data port ${dataUrl} is not encrypted and not on loopback`;
  if (isNear) return undefined;
  return (
    `the data port ${dataUrl} is on the loopback of another machine than the server's, where nobody can read from it: ` +
    "start the governor with --listen and an address of its machine (0.0.0.0 for all)"
  );
}

/** How long a governor may take to begin its answer, milliseconds. */
const ANSWER_MS = 15_000;

/** Headers that pass through. */
const FORWARDED = ["content-length", "content-range", "accept-ranges", "rain-complete"] as const;

/** What is asked of a governor. */
export interface Asked {
  readonly path: string;
  /** With its "?", or empty. */
  readonly query: string;
  readonly range: string | undefined;
  /** There may be many bytes: they come over a connection of their own, which costs less for each of them. */
  readonly isLarge: boolean;
}

/**
 * Reads from a governor's data port and passes the answer on. Resolves to false, with nothing sent yet, when the
 * governor cannot be reached or does not have it; an answer that breaks off in the middle breaks off here too, and the
 * client reads on from where it was.
 */
export async function passThrough(
  agents: Agents,
  port: DataPort,
  asked: Asked,
  response: ServerResponse,
): Promise<boolean> {
  const answer = await (asked.isLarge ? openLarge(port, asked) : open(agents, port, asked));
  if (!answer) return false;
  if (answer.status !== 200 && answer.status !== 206) {
    answer.close();
    return false;
  }
  const headers: Record<string, string> = {};
  for (const name of FORWARDED) {
    const value = answer.headers[name];
    if (typeof value === "string") headers[name] = value;
  }
  respondBytes(response, answer.status, headers);
  try {
    await answer.pass(response);
  } catch {
    // One of the two ends broke off: the reader resumes by Range.
    response.destroy();
  }
  return true;
}

/** The answer of a governor, whose body is to be passed on. */
interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** Rejects when one of the two ends breaks off. */
  readonly pass: (response: ServerResponse) => Promise<void>;
  /** It is not wanted. */
  readonly close: () => void;
}

interface Way {
  readonly url: URL;
  readonly pin: Pin | undefined;
  readonly headers: Record<string, string>;
}

function wayTo(port: DataPort, { path, query, range }: Asked): Way {
  const { fingerprint } = port;
  const ticket = signTicket(port.ticketKey, { method: "GET", path, epoch: port.epoch });
  return {
    url: new URL(path + query, port.url),
    pin: fingerprint === undefined ? undefined : { fingerprint, from: "the governor's registration" },
    headers: { Authorization: `Rain-Ticket ${ticket}`, ...(range === undefined ? {} : { Range: range }) },
  };
}

async function openLarge(port: DataPort, asked: Asked): Promise<Answer | undefined> {
  try {
    const bytes = await openBytes({ ...wayTo(port, asked), idleMs: ANSWER_MS });
    const { status, headers } = bytes;
    return { status, headers, pass: (response) => pump(bytes, response), close: () => bytes.close() };
  } catch {
    return undefined; // the governor is away: there may be another one
  }
}

/** Pieces of memory in which bytes wait for the reader. */
const PIECES = 16;

/** Passes bytes on through a few pieces of memory: as long as one is free, the next bytes come. */
async function pump(bytes: Bytes, response: ServerResponse): Promise<void> {
  const free = Array.from({ length: PIECES }, () => Buffer.allocUnsafeSlow(CHUNK_BYTES));
  let wake = (): void => undefined;
  response.once("close", () => {
    bytes.close();
    wake();
  });
  const send = (chunk: Buffer): void => {
    const piece = free.pop() ?? Buffer.allocUnsafeSlow(CHUNK_BYTES);
    chunk.copy(piece);
    response.write(piece.subarray(0, chunk.length), () => {
      free.push(piece);
      wake();
    });
  };
  await bytes.read((chunk) => {
    send(chunk);
    if (free.length > 0) return undefined;
    return new Promise((resolve) => (wake = resolve));
  });
  await new Promise<void>((resolve) => response.end(resolve));
}

function open(agents: Agents, port: DataPort, asked: Asked): Promise<Answer | undefined> {
  return new Promise((resolve) => {
    const { url, pin, headers } = wayTo(port, asked);
    const request = httpRequest(url, { agent: agents.to(url, pin), headers, timeout: ANSWER_MS });
    request.on("timeout", () => request.destroy());
    request.on("error", () => resolve(undefined));
    request.on("response", (answer) =>
      resolve({
        status: answer.statusCode ?? 0,
        headers: answer.headers,
        pass: (response) => pipeline(answer, response),
        close: () => answer.resume(),
      }),
    );
    request.end();
  });
}
