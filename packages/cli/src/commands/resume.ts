import type { Context } from "../context.ts";
import type { RunRef } from "../options.ts";
import { goOn, resubmit, type AgainFlags } from "../runs/again.ts";

/** `rain resume RUN`: goes on with what was cancelled, by `rain stop` or after a failure, and watches the run again. */
export const run = (context: Context, ref: RunRef, flags: AgainFlags): Promise<number> =>
  goOn(context, ref, flags, resubmit(["cancelled", "aborted"]));
