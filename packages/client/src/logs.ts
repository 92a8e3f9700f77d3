import type { IncomingMessage } from "node:http";
import {
  logPath,
  RainError,
  settledStates,
  type SessionId,
  type TaskId,
  type TaskState,
} from "@rain/protocol";
import type { Connection } from "./connection.ts";
import { delay } from "./delay.ts";
import { networkError, type Http } from "./http.ts";

export type LogStream = "stdout" | "stderr";

export interface LogOptions {
  /** Default: both. */
  readonly stream?: LogStream | "both" | undefined;
  /** Go on until the task ends. */
  readonly follow?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A piece of what a task wrote. `text` is its UTF-8; a character cut in two comes whole with the later piece. */
export interface LogChunk {
  readonly stream: LogStream;
  readonly bytes: Uint8Array;
  readonly text: string;
}

const FOLLOW_MS = 250;

/** What the last attempt of a task wrote, in pieces as they come; the order between the two streams is not known. */
export async function* readLogs(
  { connection, http }: { readonly connection: Connection; readonly http: Http },
  session: SessionId,
  task: TaskId,
  { stream = "both", follow = false, signal }: LogOptions,
): AsyncGenerator<LogChunk, void, undefined> {
  const streams: readonly LogStream[] = stream === "both" ? ["stdout", "stderr"] : [stream];
  const readers = streams.map((each) => new LogReader(http, session, task, each, signal));
  for (;;) {
    const wasSettled = follow && (await isSettled(connection, session, task)); // asked before reading, so that nothing comes after
    for (const reader of readers) yield* reader.readOn();
    if (!follow || wasSettled || readers.every((reader) => reader.isComplete)) return;
    await delay(FOLLOW_MS, signal);
  }
}

const settled: ReadonlySet<TaskState> = new Set(settledStates);

async function isSettled(connection: Connection, session: SessionId, task: TaskId): Promise<boolean> {
  const { tasks } = await connection.request("task.get", { session, tasks: [task] });
  return tasks.every(({ state }) => settled.has(state));
}

class LogReader {
  readonly #http: Http;
  readonly #path: string;
  readonly #stream: LogStream;
  readonly #signal: AbortSignal | undefined;
  readonly #decoder = new TextDecoder();
  #offset = 0;
  isComplete = false;

  constructor(
    http: Http,
    session: SessionId,
    task: TaskId,
    stream: LogStream,
    signal: AbortSignal | undefined,
  ) {
    this.#http = http;
    this.#path = logPath(session, task, stream);
    this.#stream = stream;
    this.#signal = signal;
  }

  /** What was written since the last time. */
  async *readOn(): AsyncGenerator<LogChunk, void, undefined> {
    let isCut = true;
    while (isCut && !this.isComplete) {
      const answer = await this.#open();
      if (!answer) return;
      isCut = false;
      const chunks = answer[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
      for (;;) {
        const next = await chunks.next().catch((error: unknown) => this.#onCut(error));
        isCut = next === undefined;
        if (!next || next.done) break;
        this.#offset += next.value.length;
        const text = this.#decoder.decode(next.value, { stream: true });
        yield { stream: this.#stream, bytes: next.value, text };
      }
      this.isComplete = !isCut && answer.headers["rain-complete"] === "1";
    }
  }

  /** The rest of the log; undefined when there is none: not started, dropped, or a new attempt that is not so far. */
  async #open(): Promise<IncomingMessage | undefined> {
    const path = `${this.#path}?offset=${this.#offset}`;
    const open = (): Promise<IncomingMessage> =>
      this.#http.open({ method: "GET", path, signal: this.#signal });
    try {
      return await this.#http.retry(open, this.#signal);
    } catch (error) {
      if (error instanceof RainError && (error.facts["status"] === 404 || error.facts["status"] === 416)) {
        return undefined;
      }
      throw error;
    }
  }

  /** A cut is read on from where it was; anything else is thrown. */
  #onCut(error: unknown): undefined {
    this.#signal?.throwIfAborted();
    const problem = networkError(this.#path, error);
    if (!problem.retryable) throw problem;
  }
}
