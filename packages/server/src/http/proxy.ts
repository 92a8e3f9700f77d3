import { request as httpRequest, type IncomingMessage, type ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import { signTicket } from "@rain/protocol/tickets";
import { respondBytes } from "./respond.ts";

/** Where a governor's data port is, and the key of its tickets. */
export interface DataPort {
  readonly url: string;
  readonly ticketKey: Uint8Array;
  readonly epoch: number;
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
  port: DataPort,
  path: string,
  query: string,
  range: string | undefined,
  response: ServerResponse,
): Promise<boolean> {
  const answer = await open(port, path, query, range);
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
  try {
    await pipeline(answer, response);
  } catch {
    // One of the two ends broke off: pipeline has closed both, and the reader resumes by Range.
    response.destroy();
  }
  return true;
}

function open(
  port: DataPort,
  path: string,
  query: string,
  range: string | undefined,
): Promise<IncomingMessage | undefined> {
  const ticket = signTicket(port.ticketKey, { method: "GET", path, epoch: port.epoch });
  return new Promise((resolve) => {
    const request = httpRequest(new URL(path + query, port.url), {
      headers: { Authorization: `Rain-Ticket ${ticket}`, ...(range === undefined ? {} : { Range: range }) },
      timeout: ANSWER_MS,
    });
    request.on("timeout", () => request.destroy());
    request.on("error", () => resolve(undefined));
    request.on("response", resolve);
    request.end();
  });
}
