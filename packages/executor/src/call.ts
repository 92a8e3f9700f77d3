import { readFile, writeFile } from "node:fs/promises";

/** A data object that a method reads. */
export interface CallInput {
  readonly label: string;
  /** The file or folder. It must not be changed. */
  readonly path: string;
  readonly kind: "blob" | "directory";
  /** Bytes. */
  readonly size: number;
  readonly contentType: string;
  bytes(): Promise<Uint8Array>;
  /** As UTF-8. */
  text(): Promise<string>;
}

/** A data object that a method makes. */
export interface CallOutput {
  readonly label: string;
  /** The file, which is not there yet. */
  readonly path: string;
  /** As declared; '' when it is not. */
  readonly contentType: string;
  /** Writes all of it. `contentType` says what it turned out to be. */
  write(data: string | Uint8Array, contentType?: string): Promise<void>;
}

/** What one task asks. */
export interface Call {
  readonly method: string;
  /** The value that the client gave; null when it gave none. */
  readonly config: unknown;
  readonly inputs: readonly CallInput[];
  readonly outputs: readonly CallOutput[];
  /** The task's own folder, removed after the call. */
  readonly folder: string;
  /** The task as people write it: `3/17`. */
  readonly task: string;
  readonly attempt: number;
  readonly cpus: number;
  /** Indices of the GPUs that the call may use. */
  readonly gpus: readonly number[];
  /** Bytes; 0: none in particular. */
  readonly memory: number;
  /** Fires when the task is cancelled or its time is over: end soon, or be killed. */
  readonly signal: AbortSignal;
}

/** A call as it travels. The governor is trusted to keep to docs/executors.md. */
export interface CallMessage extends Omit<Call, "inputs" | "outputs" | "signal"> {
  readonly type: "call";
  readonly id: number;
  readonly inputs: readonly Omit<CallInput, "bytes" | "text">[];
  readonly outputs: readonly Omit<CallOutput, "write">[];
}

export interface OpenCall extends Call {
  /** Content types of the outputs, in their order, as far as they are known. */
  readonly contentTypes: string[];
}

export function openCall(message: CallMessage, signal: AbortSignal): OpenCall {
  const contentTypes = message.outputs.map((output) => output.contentType);
  return {
    ...message,
    contentTypes,
    signal,
    inputs: message.inputs.map((input) => ({
      ...input,
      bytes: () => readFile(input.path),
      text: () => readFile(input.path, "utf8"),
    })),
    outputs: message.outputs.map((output, at) => ({
      ...output,
      write: async (data, contentType) => {
        await writeFile(output.path, data);
        if (contentType !== undefined) contentTypes[at] = contentType;
      },
    })),
  };
}
