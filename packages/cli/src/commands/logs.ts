import type { Client } from "@rain/client";
import { asSessionId, asTaskId, RainError } from "@rain/protocol";
import { withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { escapeText } from "../escape.ts";
import { exitCodes } from "../exit-codes.ts";
import { CommandError } from "../failure.ts";

export interface LogsFlags {
  readonly stream: "stdout" | "stderr" | "both";
  /** Wait for the task's start, and go on to its end. */
  readonly follow: boolean;
}
interface TaskRef {
  readonly session: number;
  readonly task: number;
}

/**
 * `rain logs SESSION/TASK`: bytes as the task wrote them, each stream on its own. With `-o json` one line a piece:
 * `{"stream": "stdout", "text": "..."}`. A log that its governor has dropped is an empty one.
 */
export async function run(context: Context, ref: TaskRef, flags: LogsFlags): Promise<number> {
  const { io, globals } = context;
  await withClient(context, async (client) => {
    await checkTask(client, ref, flags.follow);
    for await (const { stream, bytes, text } of client.logs(ref, flags)) {
      if (globals.output === "json") io.stdout(`${escapeText(JSON.stringify({ stream, text }))}\n`);
      else if (stream === "stdout") io.stdout(bytes);
      else io.stderr(bytes);
      await io.drained();
    }
  });
  return exitCodes.ok;
}

/** Throws when there is no such task, or nothing to print and nothing to wait for. */
async function checkTask(client: Client, { session, task }: TaskRef, follow: boolean): Promise<void> {
  const ids = { session: asSessionId(session), tasks: [asTaskId(task)] };
  const [view] = (await client.request("task.get", ids)).tasks;
  if (view === undefined) throw new RainError("unknown-task", `there is no task ${session}/${task}`);
  if (view.attempt > 0 || follow) return;
  throw new CommandError(
    exitCodes.failed,
    `task ${session}/${task} is ${view.state} and has not run: there is no log yet; -f waits for it`,
  );
}
