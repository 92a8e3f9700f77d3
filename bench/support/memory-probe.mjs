import { monitorEventLoopDelay } from "node:perf_hooks";

// Loaded into a server before its own code. Answers "memory" with its memory after a collection of garbage, "delay"
// with the longest time, ms, that its event loop was held up since it was asked last.
const RESOLUTION_MS = 5;
const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
delay.enable();
process.on("message", (what) => {
  if (what === "delay") {
    const worst = delay.max / 1e6;
    delay.reset();
    process.send?.(Math.max(0, worst - RESOLUTION_MS));
    return;
  }
  // Twice: what the first collection releases may hold more.
  globalThis.gc?.();
  globalThis.gc?.();
  process.send?.(process.memoryUsage());
});
// The server must still be able to end by itself.
process.channel?.unref();
