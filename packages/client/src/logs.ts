import { logPath, type SessionId, type TaskId } from "@rain/protocol";
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
  http: Http,
  session: SessionId,
  task: TaskId,
  { stream = "both", follow = false, signal }: LogOptions,
): AsyncGenerator<LogChunk, void, undefined> {
  const streams: readonly LogStream[] = stream === "both" ? ["stdout", "stderr"] : [stream];
  const readers = streams.map((each) => new LogReader(http, session, task, each, signal));
  for (;;) {
    for (const reader of readers) yield* reader.readOn();
    if (!follow || readers.every((reader) => reader.isComplete)) return;
    await delay(FOLLOW_MS, signal);
  }
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
    while (!this.isComplete) {
      const path = `${this.#path}?offset=${this.#offset}`;
      const answer = await this.#http.retry(
        () => this.#http.open({ method: "GET", path, signal: this.#signal }),
        this.#signal,
      );
      const chunks = answer[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
      let isCut = false;
      for (;;) {
        const next = await chunks.next().catch((error: unknown) => {
          this.#signal?.throwIfAborted();
          const problem = networkError(path, error);
          if (!problem.retryable) throw problem;
          return undefined; // read on from here
        });
        isCut = next === undefined;
        if (!next || next.done) break;
        this.#offset += next.value.length;
        yield {
          stream: this.#stream,
          bytes: next.value,
          text: this.#decoder.decode(next.value, { stream: true }),
        };
      }
      if (isCut) continue;
      this.isComplete = answer.headers["rain-complete"] === "1";
      return;
    }
  }
}
