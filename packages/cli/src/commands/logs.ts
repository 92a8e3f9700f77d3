import { withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { escapeText } from "../escape.ts";
import { exitCodes } from "../exit-codes.ts";

export interface LogsFlags {
  readonly stream: "stdout" | "stderr" | "both";
  readonly follow: boolean;
}

/**
 * `rain logs SESSION/TASK`: bytes as the task wrote them, each stream on its own. With `-o json` one line a piece:
 * `{"stream": "stdout", "text": "..."}`.
 */
export async function run(
  context: Context,
  ref: { readonly session: number; readonly task: number },
  flags: LogsFlags,
): Promise<number> {
  const { io, globals } = context;
  await withClient(context, async ({ client }) => {
    for await (const { stream, bytes, text } of client.logs(ref, flags)) {
      if (globals.output === "json") io.stdout(`${escapeText(JSON.stringify({ stream, text }))}\n`);
      else if (stream === "stdout") io.stdout(bytes);
      else io.stderr(bytes);
      await io.drained();
    }
  });
  return exitCodes.ok;
}
