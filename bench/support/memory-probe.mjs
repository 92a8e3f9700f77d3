import { readFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";

// Loaded into a server before its own code. Answers "memory" with its memory after a collection of garbage, "delay"
// with the longest time, ms, that its event loop was held up since it was asked last, and how long it waited for a cpu.
const RESOLUTION_MS = 5;
const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
delay.enable();
/** Milliseconds that the main thread was ready to run and had no cpu: the second figure, in nanoseconds. */
const waited = () => Number(readFileSync("/proc/self/schedstat", "latin1").split(" ")[1]) / 1e6;
let waitedBefore = waited();
process.on("message", (what) => {
  if (what === "delay") {
    const worst = delay.max / 1e6;
    delay.reset();
    const waitedNow = waited();
    process.send?.({ worstMs: Math.max(0, worst - RESOLUTION_MS), waitedMs: waitedNow - waitedBefore });
    waitedBefore = waitedNow;
    return;
  }
  // Twice: what the first collection releases may hold more.
  globalThis.gc?.();
  globalThis.gc?.();
  process.send?.(process.memoryUsage());
});
// The server must still be able to end by itself.
process.channel?.unref();
