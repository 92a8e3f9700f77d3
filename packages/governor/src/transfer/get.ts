import { request, type IncomingMessage } from "node:http";
import { RainError } from "@rain/protocol";
import { openBytes, readAnswer, type Take } from "@rain/protocol/bytes";
import type { Agents, Pin } from "@rain/protocol/tls";
import { errorCode } from "../monitor/errno.ts";

/**
 * May the same request go better in a moment? `patient`: for who waits until the source has started. `whole`: one for
 * the whole object may.
 */
export type Again = "yes" | "no" | "patient" | "whole";

/** Why a source did not give the bytes. */
export class SourceProblem extends Error {
  readonly again: Again;
  constructor(message: string, again: Again) {
    super(message);
    this.name = "SourceProblem";
    this.again = again;
  }
}

export interface GetOptions {
  readonly url: URL;
  readonly ticket: string;
  readonly hostHeader?: string | undefined;
  /** First byte that is wanted. */
  readonly from: number;
  /** The byte after the last that is wanted; undefined for all that there are. */
  readonly to?: number | undefined;
  readonly agents: Agents;
  readonly pin: Pin | undefined;
  /** Longest time without a byte, milliseconds. */
  readonly progressMs: number;
  readonly signal: AbortSignal;
}

/** The answer of a source, whose body is to be read. */
export interface Answer {
  readonly status: number;
  /** Until the body ends or breaks off, or `take` throws. A piece is good until `take` returns. */
  readonly read: (take: Take) => Promise<void>;
}

function headersOf({ ticket, hostHeader, from, to }: GetOptions): Record<string, string> {
  const isPart = from > 0 || to !== undefined;
  return {
    Authorization: `Rain-Ticket ${ticket}`,
    ...(hostHeader === undefined ? {} : { Host: hostHeader }),
    ...(isPart ? { Range: `bytes=${from}-${to === undefined ? "" : to - 1}` } : {}),
  };
}

/** Asks a source for the bytes from `from` on, up to `to`, over a connection that serves again. Throws SourceProblem. */
export function get(options: GetOptions): Promise<Answer> {
  const { url, from, to, agents, pin, progressMs, signal } = options;
  return new Promise((resolve, reject) => {
    const call = request(url, { agent: agents.to(url, pin), headers: headersOf(options), signal });
    const silent = new SourceProblem(`sent nothing for ${progressMs / 1000} s`, "no");
    // Once there is an answer, it is its reader who must hear of the problem.
    let begun: IncomingMessage | undefined;
    call.setTimeout(progressMs, () => (begun ?? call).destroy(silent));
    call.on("error", (error) => reject(problemOf(error)));
    call.on("response", (answer) => {
      begun = answer;
      const status = answer.statusCode ?? 0;
      const problem = statusProblem(status, answer.headers["content-range"], from, to !== undefined);
      if (!problem) return resolve({ status, read: (take) => drain(answer, take) });
      if (problem.again === "whole") answer.destroy();
      else answer.resume();
      reject(problem);
    });
    call.end();
  });
}

/** What is left of an answer that is not read to its end is not waited for. */
async function drain(answer: IncomingMessage, take: Take): Promise<void> {
  try {
    await readAnswer(answer, take);
  } finally {
    if (!answer.complete) answer.destroy();
  }
}

/** The same for many bytes, over a connection of its own: cheaper for each of them. */
export async function getMany(options: GetOptions): Promise<Answer> {
  const { url, from, to, pin, progressMs, signal } = options;
  try {
    const bytes = await openBytes({ url, pin, headers: headersOf(options), idleMs: progressMs, signal });
    const problem = statusProblem(bytes.status, bytes.headers["content-range"], from, to !== undefined);
    if (!problem) return bytes;
    bytes.close();
    throw problem;
  } catch (error) {
    throw signal.aborted ? stopping() : problemOf(error);
  }
}

/** Why an answer is not the bytes from `from` on (or, with status 200, from the start); undefined when it is. */
function statusProblem(
  status: number,
  range: string | undefined,
  from: number,
  isPart: boolean,
): SourceProblem | undefined {
  switch (status) {
    case 200:
      return isPart ? new SourceProblem("does not give parts of it", "whole") : undefined;
    case 206: {
      if (range?.startsWith(`bytes ${from}-`)) return undefined;
      return new SourceProblem(
        `answered with the range ${JSON.stringify(range ?? "")} to bytes=${from}-`,
        "no",
      );
    }
    case 401:
    case 403:
      return new SourceProblem(`did not accept the ticket (status ${status})`, "no");
    case 404:
      return new SourceProblem("does not have it (status 404)", "no");
    case 416:
      return new SourceProblem(`has less than ${from} bytes (status 416)`, "no");
    default:
      return new SourceProblem(`answered with status ${status}`, status >= 500 ? "yes" : "no");
  }
}

export const stopping = (): SourceProblem =>
  new SourceProblem("was not waited for: this governor stops", "no");

/** An error of the connection in words. */
export function problemOf(error: unknown): SourceProblem {
  if (error instanceof SourceProblem) return error;
  if (error instanceof RainError) return new SourceProblem(`is not trusted: ${error.message}`, "no");
  switch (errorCode(error) ?? "") {
    case "ECONNREFUSED":
      return new SourceProblem("refused the connection", "patient");
    case "ENOTFOUND":
      return new SourceProblem("is not a known host", "no");
    case "ABORT_ERR":
      return stopping();
    case "ERR_IDLE":
      return new SourceProblem(error instanceof Error ? error.message : "sent nothing", "no");
    case "ECONNRESET":
    case "EPIPE":
      return new SourceProblem("cut the connection", "yes");
    default:
      return new SourceProblem(`failed: ${error instanceof Error ? error.message : String(error)}`, "yes");
  }
}
