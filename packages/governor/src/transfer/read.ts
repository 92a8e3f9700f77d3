import { setTimeout as delay } from "node:timers/promises";
import type { Agents, Pin } from "@rain/protocol/tls";
import type { Take } from "@rain/protocol/bytes";
import { get, getMany, problemOf, SourceProblem, stopping, type Answer } from "./get.ts";

/** A place to read an object from. */
export interface Source {
  readonly url: URL;
  readonly ticket: string;
  /** What the source calls itself, when the URL is the near end of a tunnel to it. */
  readonly hostHeader?: string | undefined;
  /** The certificate that the source must show, with https. */
  readonly pin: Pin | undefined;
  /** A source that refuses connections is tried again too: it may be starting. */
  readonly patient: boolean;
}

export interface ReadOptions {
  /** Bytes of the whole object. */
  readonly size: number;
  readonly agents: Agents;
  /** Longest time without a byte, milliseconds. */
  readonly progressMs: number;
  readonly signal: AbortSignal;
  /** There are many bytes. */
  readonly isLarge: boolean;
}

/** The bytes of an object from `from` to before `to`; those before `at` have come. */
export interface Span {
  readonly from: number;
  readonly to: number;
  at: number;
}

/** Where bytes go. */
export interface Sink {
  /** Takes the bytes at the span's `at`. Its error is of this machine. */
  readonly take: Take;
  /** What came so far comes again from the start, maybe with other bytes. */
  readonly restart: () => Promise<void> | void;
}

/** Waits before the tries after the first that bring no byte, milliseconds. */
const PAUSES_MS = [100, 400, 1_500];

/** Reads the rest of a span from one source, going on where it was after a cut. Throws SourceProblem. */
export async function readSpan(source: Source, options: ReadOptions, span: Span, sink: Sink): Promise<void> {
  let idleTries = 0;
  for (;;) {
    const before = span.at;
    const problem = await receive(source, options, span, sink);
    if (!problem) return;
    idleTries = span.at > before ? 1 : idleTries + 1;
    const pause = PAUSES_MS[idleTries - 1];
    const again = problem.again === "yes" || (problem.again === "patient" && source.patient);
    if (pause === undefined || !again) {
      const received = span.at - span.from;
      const got = received > 0 ? ` (after ${received} of ${span.to - span.from} bytes)` : "";
      throw new SourceProblem(problem.message + got, problem.again === "whole" ? "whole" : "no");
    }
    await delay(pause);
    if (options.signal.aborted) throw stopping();
  }
}

/** One request. Answers what was wrong with it. */
async function receive(
  source: Source,
  options: ReadOptions,
  span: Span,
  sink: Sink,
): Promise<SourceProblem | undefined> {
  const { size } = options;
  const isWhole = span.from === 0 && span.to === size;
  let answer: Answer;
  try {
    const asked = { ...source, ...options, from: span.at, to: isWhole ? undefined : span.to };
    answer = await (options.isLarge ? getMany(asked) : get(asked));
  } catch (error) {
    return problemOf(error);
  }
  if (answer.status === 200 && span.at > 0) {
    // The source does not go on in the middle: from the start again.
    span.at = 0;
    await sink.restart();
  }
  let own: { readonly error: unknown } | undefined;
  const note = (error: unknown): never => {
    own = { error };
    throw error;
  };
  const take = (chunk: Buffer): Promise<void> | undefined => {
    if (span.at + chunk.length > span.to)
      throw new SourceProblem(`sent more than the ${span.to - span.from} bytes of the object`, "no");
    try {
      const taking = sink.take(chunk);
      span.at += chunk.length;
      return taking?.catch(note);
    } catch (error) {
      return note(error);
    }
  };
  try {
    await answer.read(take);
  } catch (error) {
    if (own !== undefined) throw own.error;
    return options.signal.aborted ? stopping() : problemOf(error);
  }
  if (span.at === span.to) return undefined;
  return new SourceProblem(`sent ${span.at - span.from} of ${span.to - span.from} bytes`, "yes");
}
