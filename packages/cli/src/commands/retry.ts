import type { Context } from "../context.ts";
import type { RunRef } from "../options.ts";
import { goOn, resubmit, type AgainFlags } from "../runs/again.ts";

/** `rain retry RUN`: runs what failed again, with the same values. */
export const run = (context: Context, ref: RunRef, flags: AgainFlags): Promise<number> =>
  goOn(context, ref, flags, resubmit(["failed"]));
