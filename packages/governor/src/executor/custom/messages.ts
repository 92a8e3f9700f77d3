import { contentType, limits, type ObjectKind } from "@rain/protocol";
import { z } from "zod";

/** What is said over the stdin and stdout of an own executor: see docs/executors.md. One line of JSON each. */

export const EXECUTOR_PROTOCOL = 1;

/** The longest line to an executor: a call names each of its inputs and outputs. */
export const MAX_CALL_BYTES = 16_777_216;
/** The longest line of an executor. */
export const MAX_ANSWER_BYTES = 262_144;
/** Characters of a method's error that go into the failure. */
const MAX_MESSAGE = 16_384;

export interface Call {
  readonly type: "call";
  readonly id: number;
  readonly method: string;
  readonly config: unknown;
  readonly inputs: readonly {
    readonly label: string;
    readonly path: string;
    readonly kind: ObjectKind;
    /** Bytes. */
    readonly size: number;
    readonly contentType: string;
  }[];
  readonly outputs: readonly {
    readonly label: string;
    readonly path: string;
    readonly contentType: string;
  }[];
  /** The task's folder. */
  readonly folder: string;
  readonly task: string;
  readonly attempt: number;
  readonly cpus: number;
  readonly gpus: readonly number[];
  /** Bytes. */
  readonly memory: number;
}

export type ToExecutor =
  | { readonly type: "hello"; readonly protocol: number; readonly name: string }
  | Call
  | { readonly type: "cancel"; readonly id: number };

export type FromExecutor =
  | { readonly type: "ready"; readonly protocol: number }
  | { readonly type: "done"; readonly id: number; readonly contentTypes?: readonly string[] | undefined }
  | { readonly type: "failed"; readonly id: number; readonly message: string };

// Not strict: an executor may say more than this governor understands.
const fromExecutor: z.ZodType<FromExecutor> = z.discriminatedUnion("type", [
  z.object({ type: z.literal("ready"), protocol: z.int() }),
  z.object({
    type: z.literal("done"),
    id: z.int(),
    contentTypes: z.array(contentType).max(limits.outputsPerTask).optional(),
  }),
  z.object({
    type: z.literal("failed"),
    id: z.int(),
    message: z.string().transform((text) => text.slice(0, MAX_MESSAGE)),
  }),
]);

/** Reads one line of an executor. Throws an Error that says what is wrong with it. */
export function readAnswer(line: string): FromExecutor {
  const shown = JSON.stringify(line.slice(0, 200));
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw new Error(`wrote ${shown} to stdout, which is for messages in JSON only; print to stderr`);
  }
  const parsed = fromExecutor.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue === undefined ? "" : `${issue.path.join(".")}: ${issue.message}`;
  throw new Error(`said ${shown}, which is no message of an executor (${where})`);
}
