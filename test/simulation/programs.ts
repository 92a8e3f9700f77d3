import { createHash } from "node:crypto";
import { asDigest, limits, type Digest, type OutputReport, type TaskSpec } from "@rain/protocol";

/** What a simulated program does: the only argument of its task, as JSON. */
export interface Behaviour {
  /** How long it runs, milliseconds. */
  readonly ms: number;
  /** Exit code; other than 0 it fails in every attempt. */
  readonly exit: number;
  /** Probability that an attempt fails. */
  readonly flaky: number;
  /** Ignores TERM. */
  readonly stubborn: boolean;
  /** Its outputs are other ones in every run, as those of a training that draws random numbers. */
  readonly random: boolean;
  /** Sizes of its outputs, bytes. */
  readonly sizes: readonly number[];
  /** How many points it tells: their values are their numbers. */
  readonly points?: number | undefined;
}
const PROGRAM = "simulated";
export const argsOf = (behaviour: Behaviour): string[] => [PROGRAM, JSON.stringify(behaviour)];
export function behaviourOf(spec: TaskSpec): Behaviour {
  const args = spec.work.type === "execute" ? spec.work.args : [];
  if (args[0] !== PROGRAM || typeof args[1] !== "string")
    throw new Error(`task ${spec.id} has no simulated program`);
  return JSON.parse(args[1]) as Behaviour;
}

const sha256 = (bytes: string | Uint8Array): Digest =>
  asDigest(createHash("sha256").update(bytes).digest("hex"));

export interface Content {
  readonly size: number;
  readonly sha256: Digest;
  readonly data: Uint8Array | undefined;
}
/** Content made of a text: real bytes when they are small enough to ride along, only a digest otherwise. */
export function contentOf(text: string, size: number): Content {
  if (size > limits.inlineBytes) return { size, sha256: sha256(`${size} bytes of ${text}`), data: undefined };
  const data = new Uint8Array(size);
  const seed = sha256(text);
  for (let at = 0; at < size; at++) data[at] = seed.charCodeAt(at % seed.length);
  return { size, sha256: sha256(data), data };
}

/**
 * The outputs of a program: the same for the same task and inputs, whoever runs it; `salt` is for random programs.
 * Tasks with `cache` are the same when their behaviours are.
 */
export function produce(
  spec: TaskSpec,
  inputs: readonly { readonly sha256: string }[],
  salt: string,
): OutputReport[] {
  const { sizes, random } = behaviourOf(spec);
  const from = inputs.map((input) => input.sha256).join() + (random ? salt : "");
  const who = spec.cache ? JSON.stringify(behaviourOf(spec)) : spec.name;
  return spec.outputs.map((output, at) => {
    const content = contentOf(`${who} ${at} of ${from}`, sizes[at] ?? 0);
    const report = { object: output.object, contentType: output.contentType, ...content };
    return content.data ? report : { ...report, data: undefined };
  });
}
