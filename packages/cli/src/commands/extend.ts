import type { Context } from "../context.ts";
import type { RunRef } from "../options.ts";
import { goOn, type AgainFlags } from "../runs/again.ts";
import { extendBy } from "../runs/extend.ts";

export interface ExtendFlags extends AgainFlags {
  readonly trials: number;
}

/** `rain extend RUN --trials N`: N more trials of a random search. */
export const run = (context: Context, ref: RunRef, flags: ExtendFlags): Promise<number> =>
  goOn(context, ref, flags, extendBy(flags.trials));
