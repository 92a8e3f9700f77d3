// An own executor in TypeScript. Built by `npx tsc -b`, it is started by
//
//   rain governor --executor wordcount="node examples/executors/dist/wordcount.js"
//
// and called by session.custom("wordcount/count", { inputs: [text], config: { top: 10 } }).
import { serve, type Call } from "@rain/executor";

/** Kept as long as the process lives: the reason to have an executor is what need not be done again. */
let calls = 0;

/** The most frequent words of all inputs, as JSON: `{"pid": 4711, "calls": 1, "words": [["rain", 12], ...]}`. */
async function count(call: Call): Promise<void> {
  calls++;
  const counts = new Map<string, number>();
  for (const input of call.inputs) {
    console.log(`counting ${input.label} (${input.size} bytes)`); // to the log of the task
    for (const word of (await input.text()).toLowerCase().match(/\p{L}+/gu) ?? []) {
      counts.set(word, (counts.get(word) ?? 0) + 1);
    }
    call.signal.throwIfAborted();
  }
  const words = [...counts].toSorted(([a, n], [b, m]) => m - n || (a < b ? -1 : 1)).slice(0, readTop(call));
  await call.outputs[0]?.write(JSON.stringify({ pid: process.pid, calls, words }), "json");
}

function readTop({ config }: Call): number {
  const top: unknown = (config as { top?: unknown } | null)?.top ?? 10;
  if (typeof top !== "number") throw new TypeError(`config.top must be a number, not ${JSON.stringify(top)}`);
  return top;
}

/** Splits the words of one text in two outputs by their length. */
async function split(call: Call): Promise<Record<string, string>> {
  const words = (await call.inputs[0]?.text())?.split(/\s+/).filter(Boolean) ?? [];
  return {
    short: words.filter((word) => word.length < 5).join("\n"),
    long: words.filter((word) => word.length >= 5).join("\n"),
  };
}

await serve({ count, split });
