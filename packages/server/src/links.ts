import { hash } from "node:crypto";
import {
  limits,
  RainError,
  toWireError,
  type ClientRequest,
  type ConstantSpec,
  type Digest,
  type GovernorMessage,
  type OutputReport,
  type RequestOf,
  type TaskArray,
  type TaskSpec,
} from "@rain/protocol";
import { longestOf, type CoreRequest } from "./core/index.ts";
import { addPacked } from "./journal/packed-lists.ts";

/** The checks that need more than the core has: digests of inline bytes, uploads, the parts of a large submit. */

const sha256 = (data: Uint8Array): string => hash("sha256", data);

/** Refuses inline bytes that are not what their digest says. */
export function checkInlineBytes(message: GovernorMessage): void {
  const outputs =
    message.type === "finish"
      ? message.outputs
      : message.type === "finish.batch"
        ? message.outputs?.flat()
        : [];
  for (const output of outputs ?? []) {
    const problem = inlineProblem(output);
    if (problem !== undefined) throw new RainError("bad-message", `output o${output.object}: ${problem}`);
  }
}

function inlineProblem(part: Pick<OutputReport, "size" | "sha256" | "data">): string | undefined {
  if (!part.data) return undefined;
  if (part.data.length > limits.inlineBytes)
    return `${part.data.length} bytes came inline; the limit is ${limits.inlineBytes}`;
  if (part.data.length !== part.size) return `${part.data.length} bytes came, but its size says ${part.size}`;
  return sha256(part.data) === part.sha256 ? undefined : "its bytes do not have the promised SHA-256";
}

interface Pending {
  readonly key: string;
  readonly tasks: TaskSpec[];
  readonly constants: ConstantSpec[];
  readonly arrays: TaskArray[];
  count: number;
  nextPart: number;
}

/**
 * Puts the parts of submits together, for one connection. A part out of turn starts nothing: the client sends the
 * whole submit again on a new connection, from part 0.
 */
export class SubmitAssembly {
  readonly #pending: Map<string, Pending> = new Map();
  readonly #sizeOfUpload: (sha256: Digest) => number | undefined;
  readonly #isStored: (key: string) => boolean;

  /** `isStored`: was the datastore that this request asks for made already? */
  constructor(sizeOfUpload: (sha256: Digest) => number | undefined, isStored: (key: string) => boolean) {
    this.#sizeOfUpload = sizeOfUpload;
    this.#isStored = isStored;
  }

  /** The request for the core; undefined when it was a part of a submit that goes on. */
  take(request: ClientRequest): CoreRequest | undefined {
    if (request.type === "submit") return this.#takePart(request);
    if (request.type === "datastore.create" && !this.#isStored(request.key))
      this.#checkUpload(request, `datastore ${request.name}`, "making it");
    return request;
  }

  #takePart(part: RequestOf<"submit">): CoreRequest | undefined {
    const { session, key, req } = part;
    const place = `${session}:${key}`;
    let pending = this.#pending.get(place);
    if (part.part === 0) {
      pending = { key, tasks: [], constants: [], arrays: [], count: 0, nextPart: 0 };
      this.#pending.set(place, pending);
    }
    if (pending?.nextPart !== part.part) {
      throw new RainError(
        "bad-request",
        `part ${part.part} of a submit came out of turn; send it again from part 0`,
      );
    }
    for (const constant of part.constants) this.#checkConstant(constant);
    pending.nextPart++;
    for (const constant of part.constants) pending.constants.push(constant);
    const { arrays: partArrays = [] } = part;
    if (part.part === 0 && part.last) {
      pending.tasks.push(...part.tasks);
      pending.arrays.push(...partArrays);
    } else {
      // What can be done of a large submit before it is whole is done part by part, with other things in between.
      addPacked(pending.tasks, part.tasks);
      addPacked(pending.arrays, partArrays);
      for (const array of partArrays) longestOf(array);
    }
    pending.count += (part.arrays ?? []).reduce((sum, { count }) => sum + count, part.tasks.length);
    if (pending.count > limits.submitTasks) {
      this.#pending.delete(place);
      throw new RainError("limit-exceeded", `a submit may have ${limits.submitTasks} tasks at most`);
    }
    if (!part.last) return undefined;
    this.#pending.delete(place);
    const { tasks, constants, arrays } = pending;
    return { type: "submit", req, session, key, tasks, constants, ...(arrays.length > 0 && { arrays }) };
  }

  #checkConstant(constant: ConstantSpec): void {
    const what = `constant o${constant.id} (${constant.label})`;
    if (constant.data) {
      const problem = inlineProblem(constant);
      if (problem !== undefined) throw new RainError("bad-digest", `${what}: ${problem}`);
      return;
    }
    this.#checkUpload(constant, what, "the submit");
  }

  #checkUpload(of: { readonly sha256: Digest; readonly size: number }, what: string, before: string): void {
    const uploaded = this.#sizeOfUpload(of.sha256);
    if (uploaded === undefined) {
      throw new RainError(
        "unknown-object",
        `${what}: its bytes were not uploaded; upload them before ${before}`,
      );
    }
    if (uploaded !== of.size) {
      throw new RainError("bad-request", `${what}: it has ${uploaded} bytes, but its size says ${of.size}`);
    }
  }
}

/** The error reply to a request that the shell refused. */
export const errorReply = (
  req: number,
  error: unknown,
): { type: "error"; req: number; error: ReturnType<typeof toWireError> } => ({
  type: "error",
  req,
  error: toWireError(error),
});
