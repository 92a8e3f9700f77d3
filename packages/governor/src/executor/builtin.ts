import { randomUUID } from "node:crypto";
import { open, readFile, rm, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { limits, type Digest, type OutputReport, type Work } from "@rain/protocol";
import { makeDirectory, sliceDirectory } from "./directories.ts";
import { checkInputTypes, inputName, readyInput } from "./inputs.ts";
import { load, storeAt } from "./load-store.ts";
import type { Collected } from "./outputs.ts";
import type { House } from "./house.ts";
import { errorCode } from "../monitor/errno.ts";
import { failureOf, TaskProblem } from "./problem.ts";
import type { Stop } from "./stop.ts";
import type { RunEffect, RunOutcome } from "./types.ts";

/** Work that needs no process. */
export type BuiltIn = Exclude<Work, { readonly type: "execute" | "custom" }>;

const MAX_TIMER_MS = 2 ** 31 - 1; // a longer one would fire at once
const CHUNK_BYTES = 1_048_576;

/** Runs built-in work. Never rejects. */
export async function runBuiltIn(
  house: House,
  effect: RunEffect,
  work: BuiltIn,
  stop: Stop,
  onStarted: (at: number) => void,
): Promise<RunOutcome> {
  const startTime = Date.now();
  const startedAt = performance.now();
  const ended = new AbortController();
  const info = (): { startTime: number; durationS: number } => ({
    startTime,
    durationS: (performance.now() - startedAt) / 1_000,
  });
  try {
    stop.check();
    stop.listen(() => ended.abort());
    onStarted(startTime);
    const outputs = await perform(house, effect, work, ended.signal);
    return { ok: true, outputs, info: info() };
  } catch (error) {
    const signal = stop.signal;
    const failure =
      ended.signal.aborted && signal !== undefined
        ? { reason: "signal" as const, message: `the task was stopped by ${signal}`, signal }
        : failureOf(error);
    return { ok: false, failure, info: info() };
  } finally {
    stop.listen(undefined);
  }
}

async function perform(
  house: House,
  effect: RunEffect,
  work: BuiltIn,
  signal: AbortSignal,
): Promise<readonly OutputReport[]> {
  checkInputTypes(effect);
  switch (work.type) {
    case "sleep":
      return await sleep(house, effect, work.seconds, signal);
    case "concat":
      return await concat(house, effect, signal);
    case "load":
      return [report(effect, await load(house, effect, work.path, signal))];
    case "store":
      await storeAt(house, effect, work.path, signal);
      return [];
    case "makeDirectory":
      return [report(effect, await makeDirectory(house, effect, work.paths, signal))];
    case "sliceDirectory":
      return [report(effect, await sliceDirectory(house, effect, work.path, signal))];
  }
}

/** The report of the one output of a built-in task. */
function report(effect: RunEffect, collected: Collected): OutputReport {
  const output = effect.spec.outputs[0];
  if (output === undefined) throw new TaskProblem("internal", `${effect.spec.work.type} without an output`);
  return { object: output.object, contentType: output.contentType, ...collected };
}

/** Waits, then hands its input on by digest: no byte is copied. */
async function sleep(
  house: House,
  effect: RunEffect,
  seconds: number,
  signal: AbortSignal,
): Promise<OutputReport[]> {
  await wait(seconds * 1_000, signal);
  const output = effect.spec.outputs[0];
  if (output === undefined) return [];
  const { sha256, size, contentType } = readyInput(effect, 0);
  const data = size > limits.inlineBytes ? {} : { data: await readPiece(house, effect, 0) };
  const type = contentType === "" ? output.contentType : contentType;
  return [{ object: output.object, contentType: type, size, sha256, ...data }];
}

async function wait(ms: number, signal: AbortSignal): Promise<void> {
  const until = performance.now() + ms;
  for (let left = ms; left > 0; left = until - performance.now())
    await delay(Math.min(left, MAX_TIMER_MS), undefined, { signal });
}

/** All inputs one after the other as one object. */
async function concat(house: House, effect: RunEffect, signal: AbortSignal): Promise<OutputReport[]> {
  const output = effect.spec.outputs[0];
  if (output === undefined) return [];
  const { object, contentType } = output;
  const count = effect.spec.inputs.length;
  let total = 0;
  for (let index = 0; index < count; index += 1) total += readyInput(effect, index).size;
  if (total > limits.inlineBytes)
    return [{ object, contentType, ...(await concatLarge(house, effect, signal)) }];
  const pieces: Uint8Array[] = [];
  for (let index = 0; index < count; index += 1) pieces.push(await readPiece(house, effect, index));
  signal.throwIfAborted();
  const data = Buffer.concat(pieces);
  return [{ object, contentType, ...(await house.store.putBytes(data)), data }];
}

async function concatLarge(
  house: House,
  effect: RunEffect,
  signal: AbortSignal,
): Promise<{ sha256: Digest; size: number }> {
  const path = join(house.tasks, `concat-${randomUUID()}`);
  try {
    const target = await open(path, "wx", 0o600);
    try {
      const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
      for (let index = 0; index < effect.spec.inputs.length; index += 1)
        await appendPiece(house, effect, index, { target, buffer, signal });
    } finally {
      await target.close();
    }
    return await house.store.adoptFile(path);
  } finally {
    await rm(path, { force: true });
  }
}

async function appendPiece(
  house: House,
  effect: RunEffect,
  index: number,
  to: { readonly target: FileHandle; readonly buffer: Buffer; readonly signal: AbortSignal },
): Promise<void> {
  const { sha256, size } = readyInput(effect, index);
  const source = await open(await house.store.onDisk(sha256), "r").catch(throwMissing(effect, index));
  try {
    for (let at = 0; at < size;) {
      to.signal.throwIfAborted();
      const { bytesRead } = await source.read(to.buffer, 0, Math.min(CHUNK_BYTES, size - at), at);
      if (bytesRead === 0) throw shortPiece(effect, index, at, size);
      await to.target.writeFile(to.buffer.subarray(0, bytesRead)); // at the current position; whole
      at += bytesRead;
    }
  } finally {
    await source.close();
  }
}

async function readPiece(house: House, effect: RunEffect, index: number): Promise<Uint8Array> {
  const { sha256, size } = readyInput(effect, index);
  const { store } = house;
  const data = store.bytes(sha256) ?? (await readFile(store.path(sha256)).catch(throwMissing(effect, index)));
  if (data.length !== size) throw shortPiece(effect, index, data.length, size);
  return data;
}

const throwMissing =
  (effect: RunEffect, index: number) =>
  (error: unknown): never => {
    if (errorCode(error) !== "ENOENT") throw error;
    const message = `input ${inputName(effect, index)}: its bytes are not in the store`;
    throw new TaskProblem("input-unavailable", message);
  };

const shortPiece = (effect: RunEffect, index: number, found: number, size: number): TaskProblem =>
  new TaskProblem(
    "input-unavailable",
    `input ${inputName(effect, index)} has ${found} of its ${size} bytes in the store`,
  );
