import { createHash, type Hash } from "node:crypto";
import { open, rm, type FileHandle } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import type { Digest } from "@rain/protocol";
import type { Agents, Pin } from "@rain/protocol/tls";
import { get, problemOf, SourceProblem, stopping } from "./get.ts";

export interface DownloadOptions {
  readonly url: URL;
  readonly ticket: string;
  /** What the source calls itself, when the URL is the near end of a tunnel to it. */
  readonly hostHeader?: string | undefined;
  readonly sha256: Digest;
  readonly size: number;
  /** Where the bytes go; a file that is not there yet, and is there only after success. */
  readonly path: string;
  readonly agents: Agents;
  /** The certificate that the source must show, with https. */
  readonly pin: Pin | undefined;
  readonly progressMs: number;
  readonly signal: AbortSignal;
  /** A source that refuses connections is tried again too: it may be starting. */
  readonly patient: boolean;
}

/** Waits before the tries after the first that bring no byte, milliseconds. */
const PAUSES_MS = [100, 400, 1_500];

/** The bytes so far. */
interface Partial {
  readonly file: FileHandle;
  hash: Hash;
  received: number;
}

/**
 * Reads an object from one source into a file, going on where it was after a cut. The file has the promised size and
 * digest when this resolves. Throws SourceProblem; any other error is of this machine (a full disk).
 */
export async function download(options: DownloadOptions): Promise<void> {
  const { path, sha256 } = options;
  const file = await open(path, "wx", 0o600);
  try {
    const partial: Partial = { file, hash: createHash("sha256"), received: 0 };
    await receiveAll(options, partial);
    const measured = partial.hash.digest("hex");
    if (measured !== sha256) {
      throw new SourceProblem(`sent other bytes: their SHA-256 is ${measured}, not ${sha256}`, "no");
    }
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  } finally {
    await file.close();
  }
}

async function receiveAll(options: DownloadOptions, partial: Partial): Promise<void> {
  let idleTries = 0;
  for (;;) {
    const before = partial.received;
    const problem = await receive(options, partial);
    if (!problem) return;
    idleTries = partial.received > before ? 1 : idleTries + 1;
    const pause = PAUSES_MS[idleTries - 1];
    const again = problem.again === "yes" || (problem.again === "patient" && options.patient);
    if (pause === undefined || !again) {
      const got = partial.received > 0 ? ` (after ${partial.received} of ${options.size} bytes)` : "";
      throw new SourceProblem(problem.message + got, "no");
    }
    await delay(pause);
    if (options.signal.aborted) throw stopping();
  }
}

/** One request. Answers what was wrong with it. */
async function receive(options: DownloadOptions, partial: Partial): Promise<SourceProblem | undefined> {
  const { size } = options;
  let answer: IncomingMessage;
  try {
    answer = await get({ ...options, from: partial.received });
  } catch (error) {
    return problemOf(error);
  }
  if (answer.statusCode === 200 && partial.received > 0) {
    // The source does not go on in the middle: from the start again.
    partial.received = 0;
    partial.hash = createHash("sha256");
  }
  const chunks = answer[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  for (;;) {
    let next: IteratorResult<Buffer>;
    try {
      next = await chunks.next();
    } catch (error) {
      return problemOf(error);
    }
    if (next.done) break;
    if (partial.received + next.value.length > size) {
      answer.destroy();
      return new SourceProblem(`sent more than the ${size} bytes of the object`, "no");
    }
    await write(partial, next.value);
  }
  if (partial.received < size) return new SourceProblem(`sent ${partial.received} of ${size} bytes`, "yes");
  return undefined;
}

async function write(partial: Partial, chunk: Buffer): Promise<void> {
  for (let done = 0; done < chunk.length;) {
    const { bytesWritten } = await partial.file.write(
      chunk,
      done,
      chunk.length - done,
      partial.received + done,
    );
    done += bytesWritten;
  }
  partial.hash.update(chunk);
  partial.received += chunk.length;
}
