import { asSessionId, asTaskId } from "@rain/protocol";
import { withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { escapeText } from "../escape.ts";
import { exitCodes } from "../exit-codes.ts";
import { print } from "../output.ts";

/** `rain explain SESSION/TASK`: why a task is in the state it is in. */
export async function run(
  context: Context,
  ref: { readonly session: number; readonly task: number },
): Promise<number> {
  const { state, lines } = await withClient(context, (client) =>
    client.request("explain", { session: asSessionId(ref.session), task: asTaskId(ref.task) }),
  );
  const name = `${ref.session}/${ref.task}`;
  print(context.io, context.globals.output, { task: name, state, lines }, () =>
    [`Task ${name}: ${state}`, ...lines.map((line) => `  ${escapeText(line)}`)].join("\n"),
  );
  return exitCodes.ok;
}
