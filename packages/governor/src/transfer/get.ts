import { request, type IncomingMessage } from "node:http";
import { RainError } from "@rain/protocol";
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

/** Asks a source for the bytes from `from` on, up to `to`. Throws SourceProblem. */
export function get(options: GetOptions): Promise<IncomingMessage> {
  const { url, ticket, hostHeader, from, to, agents, pin, progressMs, signal } = options;
  const headers: Record<string, string> = { Authorization: `Rain-Ticket ${ticket}` };
  if (hostHeader !== undefined) headers["Host"] = hostHeader;
  if (from > 0 || to !== undefined) headers["Range"] = `bytes=${from}-${to === undefined ? "" : to - 1}`;
  return new Promise((resolve, reject) => {
    const call = request(url, { agent: agents.to(url, pin), headers, signal });
    const silent = new SourceProblem(`sent nothing for ${progressMs / 1000} s`, "no");
    // Once there is an answer, it is its reader who must hear of the problem.
    let begun: IncomingMessage | undefined;
    call.setTimeout(progressMs, () => (begun ?? call).destroy(silent));
    call.on("error", (error) => reject(problemOf(error)));
    call.on("response", (answer) => {
      begun = answer;
      const problem = statusProblem(answer, from, to !== undefined);
      if (!problem) return resolve(answer);
      if (problem.again === "whole") answer.destroy();
      else answer.resume();
      reject(problem);
    });
    call.end();
  });
}

/** Why an answer is not the bytes from `from` on (or, with status 200, from the start); undefined when it is. */
function statusProblem(answer: IncomingMessage, from: number, isPart: boolean): SourceProblem | undefined {
  const status = answer.statusCode ?? 0;
  switch (status) {
    case 200:
      return isPart ? new SourceProblem("does not give parts of it", "whole") : undefined;
    case 206: {
      const range = answer.headers["content-range"] ?? "";
      if (range.startsWith(`bytes ${from}-`)) return undefined;
      return new SourceProblem(`answered with the range ${JSON.stringify(range)} to bytes=${from}-`, "no");
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
    case "ECONNRESET":
    case "EPIPE":
      return new SourceProblem("cut the connection", "yes");
    default:
      return new SourceProblem(`failed: ${error instanceof Error ? error.message : String(error)}`, "yes");
  }
}
