import { setTimeout as sleep } from "node:timers/promises";
import type { Client } from "@rain/client";
import { asSessionId, asTaskId, RainError, settledStates, type TaskView } from "@rain/protocol";
import { withClient } from "../connect.ts";
import type { Context } from "../context.ts";
import { escapeText } from "../escape.ts";
import { exitCodes } from "../exit-codes.ts";
import { CommandError } from "../failure.ts";

export interface LogsFlags {
  readonly stream: "stdout" | "stderr" | "both";
  readonly follow: boolean;
}
interface TaskRef {
  readonly session: number;
  readonly task: number;
}

/**
 * `rain logs SESSION/TASK`: bytes as the task wrote them, each stream on its own. With `-o json` one line a piece:
 * `{"stream": "stdout", "text": "..."}`.
 */
export async function run(context: Context, ref: TaskRef, flags: LogsFlags): Promise<number> {
  const name = `${ref.session}/${ref.task}`;
  await withClient(context, async (client) => {
    const task = await started(client, ref, flags.follow);
    if (task.attempt === 0)
      throw new CommandError(
        exitCodes.failed,
        `task ${name} is ${task.state} and has not run: there is no log`,
      );
    await copy(context, client, ref, flags).catch((error: unknown) => {
      if (!(error instanceof RainError) || error.facts["status"] !== 404) throw error;
      throw new CommandError(
        exitCodes.failed,
        `the log of task ${name} is not there: it has not begun, or its governor is gone or has dropped it ` +
          `("rain explain ${name}" tells more)`,
        {},
        { cause: error },
      );
    });
  });
  return exitCodes.ok;
}

const pollMs = 250;
/** The task; with `follow`, as soon as it runs or has settled. */
async function started(client: Client, ref: TaskRef, follow: boolean): Promise<TaskView> {
  const session = asSessionId(ref.session);
  for (;;) {
    const [task] = (await client.request("task.get", { session, tasks: [asTaskId(ref.task)] })).tasks;
    if (task === undefined)
      throw new RainError("unknown-task", `there is no task ${ref.session}/${ref.task}`);
    const settled: readonly string[] = settledStates;
    if (!follow || task.state === "running" || settled.includes(task.state)) return task;
    await sleep(pollMs);
  }
}

async function copy({ io, globals }: Context, client: Client, ref: TaskRef, flags: LogsFlags): Promise<void> {
  for await (const { stream, bytes, text } of client.logs(ref, flags)) {
    if (globals.output === "json") io.stdout(`${escapeText(JSON.stringify({ stream, text }))}\n`);
    else if (stream === "stdout") io.stdout(bytes);
    else io.stderr(bytes);
    await io.drained();
  }
}
