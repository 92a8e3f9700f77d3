import { readHeap } from "./support/instance.mjs";
import { residentBytes } from "./support/machine.mjs";
import { mebibytes } from "./support/figures.mjs";
import { QUEUED, QUEUED_ARRAY, submitQueued, submitQueuedArray } from "./support/queued.mjs";

// What a queued task costs a real server, journal and connections included.

/** Memory that a server with a million queued tasks may take above an idle one, bytes. */
const BAR = 400e6;

/**
 * @param {import("./support/instance.mjs").Instance} instance
 * @param {(session: import("@rain/client").Session, count: number) => Promise<import("@rain/client").Task>} submit
 * @param {number} count
 */
async function measure(instance, submit, count) {
  const server = await instance.startServer({ probe: true });
  const client = await instance.connect();
  const warm = await client.newSession("bench warm-up");
  await submit(warm, 2_000);
  await warm.close();

  const heapBefore = await readHeap(server);
  const residentBefore = residentBytes(server.pid);
  const session = await client.newSession("bench memory");
  const last = await submit(session, count);
  const residentPeak = residentBytes(server.pid);
  const heapAfter = await readHeap(server);
  const residentAfter = residentBytes(server.pid);
  await client.close();
  await instance.stop();
  const note =
    `${count.toLocaleString("en-US")} tasks submitted, difference to the idle server, after a collection of garbage; ` +
    `buffers ${mebibytes(heapBefore.external)} idle, ${mebibytes(heapAfter.external)} after; ` +
    `resident ${mebibytes(residentBefore)} idle, ${mebibytes(residentPeak)} right after the submit, ` +
    `${mebibytes(residentAfter)} after the collection`;
  return {
    spec: JSON.stringify(last.spec),
    heap: heapAfter.heapUsed - heapBefore.heapUsed,
    resident: residentAfter - residentBefore,
    note,
  };
}

/** @type {import("./support/child.mjs").Benchmark} */
const benchmark = {
  name: "memory",
  what: "memory of a server with 100,000 queued tasks, and with 1,000,000 of an array",
  run: async ({ newInstance, quick }) => {
    const [few, many] = quick ? [QUEUED / 50, QUEUED_ARRAY / 50] : [QUEUED, QUEUED_ARRAY];
    const single = await measure(newInstance(), submitQueued, few);
    const array = await measure(newInstance(), submitQueuedArray, many);
    // What is to be remembered, before anything is known about how.
    const peer = { name: "its spec as JSON", value: single.spec.length };
    const { note } = single;
    const millions = many.toLocaleString("en-US");
    return [
      { figure: "heap, queued", value: single.heap / few, unit: "bytes/task", rounds: [], peer, note },
      {
        figure: "resident, queued",
        value: single.resident / few,
        unit: "bytes/task",
        rounds: [],
        peer,
        note,
      },
      {
        figure: `resident, ${millions} queued`,
        value: array.resident / 1e6,
        unit: "MB",
        rounds: [],
        peer: { name: "what it may take", value: BAR / 1e6 },
        note: `one array with a listed value each; ${array.note}`,
      },
    ];
  },
};
export default benchmark;
