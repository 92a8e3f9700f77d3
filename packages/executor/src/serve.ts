import { createInterface } from "node:readline";
import { openCall, type Call, type CallMessage, type OpenCall } from "./call.ts";

/** Nothing: the method wrote its outputs. One value: the only output. A record: the outputs by their labels. */
export type Result = string | Uint8Array | Readonly<Record<string, string | Uint8Array>> | void;
export type Method = (call: Call) => Result | Promise<Result>;
export type Methods = Readonly<Record<string, Method>>;

const PROTOCOL = 1;
/** Characters of an error's message that are sent; the whole of it goes to stderr. */
const MAX_MESSAGE = 16_000;

type Message =
  | { readonly type: "hello"; readonly protocol: number }
  | CallMessage
  | { readonly type: "cancel"; readonly id: number };

/**
 * Serves a governor over stdin and stdout until it closes stdin. From then on `console.log` and everything else that
 * is written to stdout goes to stderr, which is the log of the running task.
 */
export async function serve(methods: Methods): Promise<void> {
  const say = takeStdout();
  let running: { readonly id: number; readonly controller: AbortController } | undefined;
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    const message = JSON.parse(line) as Message;
    if (message.type === "hello") say({ type: "ready", protocol: PROTOCOL });
    else if (message.type === "cancel") {
      if (message.id === running?.id) running.controller.abort(new Error("the task was cancelled"));
    } else if (message.type === "call") {
      const { id } = message;
      const controller = new AbortController();
      running = { id, controller };
      // Not awaited, so that `cancel` is heard; the governor sends the next call after the answer.
      void answer(methods, openCall(message, controller.signal)).then((reply) => say({ ...reply, id }));
    }
  }
}

type Reply =
  | { readonly type: "done"; readonly contentTypes: readonly string[] }
  | { readonly type: "failed"; readonly message: string };

async function answer(methods: Methods, call: OpenCall): Promise<Reply> {
  try {
    const method = Object.hasOwn(methods, call.method) ? methods[call.method] : undefined;
    if (method === undefined) {
      const known = Object.keys(methods).join(", ");
      throw new Error(`there is no method ${JSON.stringify(call.method)}; known are ${known}`);
    }
    await writeResult(call, await method(call));
    return { type: "done", contentTypes: call.contentTypes };
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    return { type: "failed", message: String(error).slice(0, MAX_MESSAGE) };
  }
}

async function writeResult(call: OpenCall, result: Result): Promise<void> {
  if (result === undefined) return;
  if (typeof result === "string" || result instanceof Uint8Array) {
    const [output] = call.outputs;
    if (output === undefined || call.outputs.length > 1)
      throw new TypeError(
        `one value came for ${call.outputs.length} outputs; return a record by their labels`,
      );
    return await output.write(result);
  }
  for (const [label, data] of Object.entries(result)) {
    const output = call.outputs.find((each) => each.label === label);
    if (output === undefined) {
      const known = call.outputs.map((each) => JSON.stringify(each.label)).join(", ");
      throw new TypeError(`there is no output ${JSON.stringify(label)}; the task has ${known}`);
    }
    await output.write(data);
  }
}

/** Keeps stdout for messages: what other code prints would be taken for one. */
function takeStdout(): (message: object) => void {
  const write = process.stdout.write.bind(process.stdout);
  process.stdout.write = process.stderr.write.bind(process.stderr);
  return (message) => void write(`${JSON.stringify(message)}\n`);
}
