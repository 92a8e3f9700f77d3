import { request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { isLoopbackHost } from "@rain/protocol";
import { signTicket } from "@rain/protocol/tickets";
import type { Agents } from "@rain/protocol/tls";
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

/**
 * Reads `path` from a governor's data port and passes the answer on. Resolves to false, with nothing sent yet, when
 * the governor cannot be reached or does not have it; an answer that breaks off in the middle breaks off here too,
 * and the client reads on from where it was.
 */
export async function passThrough(
  agents: Agents,
  port: DataPort,
  path: string,
  query: string,
  range: string | undefined,
  response: ServerResponse,
): Promise<boolean> {
  const answer = await open(agents, port, path, query, range);
  if (!answer) return false;
  if (answer.statusCode !== 200 && answer.statusCode !== 206) {
    answer.resume();
    return false;
  }
  const headers: Record<string, string> = {};
  for (const name of FORWARDED) {
    const value = answer.headers[name];
    if (typeof value === "string") headers[name] = value;
  }
  respondBytes(response, answer.statusCode, headers);
  await pump(answer, response);
  return true;
}

/** Bytes that wait for the reader, at which the governor is not read any further. */
const AHEAD_BYTES = 1_048_576;

/**
 * Passes bytes on until the end, or until one of the two breaks off: then both are closed, and the reader resumes by
 * Range. Streams of Node would stop and go for every piece.
 */
function pump(from: IncomingMessage, to: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const goOn = (): void => {
      if (from.isPaused() && to.writableLength < AHEAD_BYTES / 2) from.resume();
    };
    from.on("data", (chunk: Buffer) => {
      to.write(chunk, goOn);
      if (to.writableLength >= AHEAD_BYTES) from.pause();
    });
    from.on("end", () => to.end(resolve));
    from.on("error", () => to.destroy());
    from.on("close", () => from.complete || to.destroy());
    to.on("error", () => from.destroy());
    to.on("close", () => {
      if (!from.complete || from.isPaused()) from.destroy();
      resolve();
    });
  });
}

function open(
  agents: Agents,
  port: DataPort,
  path: string,
  query: string,
  range: string | undefined,
): Promise<IncomingMessage | undefined> {
  const ticket = signTicket(port.ticketKey, { method: "GET", path, epoch: port.epoch });
  return new Promise((resolve) => {
    const url = new URL(path + query, port.url);
    const { fingerprint } = port;
    const pin = fingerprint === undefined ? undefined : { fingerprint, from: "the governor's registration" };
    const request = httpRequest(url, {
      agent: agents.to(url, pin),
      headers: { Authorization: `Rain-Ticket ${ticket}`, ...(range === undefined ? {} : { Range: range }) },
      timeout: ANSWER_MS,
    });
    request.on("timeout", () => request.destroy());
    request.on("error", () => resolve(undefined));
    request.on("response", resolve);
    request.end();
  });
}
