import { readHeap } from "./support/instance.mjs";
import { residentBytes } from "./support/machine.mjs";
import { mebibytes } from "./support/figures.mjs";
import { QUEUED, submitQueued } from "./support/queued.mjs";

// What a queued task costs a real server, journal and connections included.

/** @type {import("./support/child.mjs").Benchmark} */
const benchmark = {
  name: "memory",
  what: "memory of a server with 100,000 queued tasks, bytes a task",
  run: async ({ newInstance }) => {
    const instance = newInstance();
    const server = await instance.startServer({ probe: true });
    const client = await instance.connect();
    const warm = await client.newSession("bench warm-up");
    await submitQueued(warm, 2_000);
    await warm.close();

    const heapBefore = await readHeap(server);
    const residentBefore = residentBytes(server.pid);
    const session = await client.newSession("bench memory");
    const last = await submitQueued(session, QUEUED);
    const residentPeak = residentBytes(server.pid);
    const heapAfter = await readHeap(server);
    const residentAfter = residentBytes(server.pid);
    await client.close();

    const used = (/** @type {NodeJS.MemoryUsage} */ memory) => memory.heapUsed;
    // What is to be remembered, before anything is known about how.
    const spec = JSON.stringify(last.spec);
    const peer = { name: "its spec as JSON", value: spec.length };
    const note =
      `${QUEUED.toLocaleString("en-US")} tasks submitted, difference to the idle server, after a collection of garbage; ` +
      `buffers ${mebibytes(heapBefore.external)} idle, ${mebibytes(heapAfter.external)} after; ` +
      `resident ${mebibytes(residentBefore)} idle, ${mebibytes(residentPeak)} right after the submit, ` +
      `${mebibytes(residentAfter)} after the collection`;
    const heap = (used(heapAfter) - used(heapBefore)) / QUEUED;
    const resident = (residentAfter - residentBefore) / QUEUED;
    return [
      { figure: "heap, queued", value: heap, unit: "bytes/task", rounds: [], peer, note },
      { figure: "resident, queued", value: resident, unit: "bytes/task", rounds: [], peer, note },
    ];
  },
};
export default benchmark;
