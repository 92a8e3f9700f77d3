import core from "./core.mjs";
import dispatch from "./dispatch.mjs";
import echo from "./echo.mjs";
import echoHeap from "./echo-heap.mjs";
import { graphs } from "./graphs.mjs";
import idle from "./idle.mjs";
import latency from "./latency.mjs";
import memory from "./memory.mjs";
import messages from "./messages.mjs";
import restart from "./restart.mjs";
import results from "./results.mjs";
import run from "./run.mjs";
import fanout from "./fanout.mjs";
import small from "./small.mjs";
import transfer from "./transfer.mjs";

/**
 * In the order in which they run: those that need a quiet machine first.
 * @type {readonly import("./support/child.mjs").Benchmark[]}
 */
export const benchmarks = [
  latency,
  idle,
  dispatch,
  ...graphs,
  echo,
  echoHeap,
  transfer,
  memory,
  restart,
  run,
  results,
  messages,
  core,
  small,
  fanout,
];
