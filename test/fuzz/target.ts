import type { Random } from "./random.ts";

/** What came of an input: it was taken, or refused with an error of ours. Anything else is thrown. */
export type Outcome = "accepted" | "refused";

/** Something that takes hostile input. */
export interface Target {
  readonly name: string;
  /** How many inputs may be under way at once; default 1. */
  readonly atOnce?: number;
  /** An input that takes longer, three times, is a failure; default 1,000. */
  readonly slowMs?: number;
  open(): Promise<OpenTarget>;
}

export interface OpenTarget {
  /**
   * Makes an input out of `random` alone and hands it over. Throws what is not an error of ours, and whatever a rule of
   * this target forbids.
   */
  run(random: Random): Outcome | Promise<Outcome>;
  /** The input that `run` would make, for people. */
  show(random: Random): string;
  /** Looks whether everything is as it was; called now and then, and at the end. */
  check?(): Promise<void>;
  close?(): Promise<void>;
}

/** Bytes for people: hexadecimal, cut. */
export const showBytes = (bytes: Uint8Array): string =>
  `${bytes.length} bytes ${Buffer.from(bytes.subarray(0, 256)).toString("hex")}${bytes.length > 256 ? "..." : ""}`;
