import { createHash } from "node:crypto";
import type { Session, Task } from "@rain/client";
import type { PRNG } from "seedrandom";

/**
 * A random graph of real programs whose results are known beforehand: each hashes its inputs, and says in a file that
 * it was started.
 */
export interface GraphPlan {
  readonly tasks: readonly TaskPlan[];
  /** What each task's output must be. */
  readonly expected: readonly string[];
}
interface TaskPlan {
  readonly inputs: readonly number[];
  /** So many lines of the hash: a large output stays on its governor, a small one is the server's. */
  readonly lines: number;
}

const WINDOW = 40;
const LARGE_LINES = 1_100; // 71 kB: more than rides in a report
const LARGE_SHARE = 0.05;

export function planGraph(count: number, random: PRNG): GraphPlan {
  const tasks: TaskPlan[] = [];
  const expected: string[] = [];
  for (let n = 0; n < count; n += 1) {
    const inputs = new Set<number>();
    const wanted = n === 0 ? 0 : Math.floor(random() * 3);
    for (let k = 0; k < wanted; k += 1) inputs.add(Math.max(0, n - 1 - Math.floor(random() * WINDOW)));
    const plan = { inputs: [...inputs], lines: random() < LARGE_SHARE ? LARGE_LINES : 1 };
    const hash = createHash("sha256").update(`${n}\n`);
    for (const input of plan.inputs) hash.update(expected[input] ?? "");
    tasks.push(plan);
    expected.push(`${hash.digest("hex")}\n`.repeat(plan.lines));
  }
  return { tasks, expected };
}

/** The number is said, hashed with the inputs, and the hash repeated. */
const PROGRAM =
  'n=$0 lines=$1 log=$2; shift 2; echo $n >> "$log"; ' +
  '{ echo $n; cat /dev/null "$@"; } | sha256sum | { read hash rest; yes $hash | head -n $lines; }';

/** Adds the graph to a session, all outputs kept. */
export function addGraph(session: Session, plan: GraphPlan, startedLog: string): Task[] {
  const made: Task[] = [];
  for (const [n, { inputs, lines }] of plan.tasks.entries()) {
    const objects = inputs.map((input) => (made[input] as Task).output);
    const args = ["sh", "-c", PROGRAM, String(n), String(lines), startedLog, ...objects];
    const task = session.execute(args, { stdout: true, name: `task ${n}` });
    task.output.keep();
    made.push(task);
  }
  return made;
}
