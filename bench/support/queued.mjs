import { each } from "@rain/client";

/** Tasks of one submit that stay queued: one call each. */
export const QUEUED = 100_000;
/** The same of an array. */
export const QUEUED_ARRAY = 1_000_000;

/**
 * Submits tasks that no governor can run, so that they stay in the server's queue; gives the last one.
 * @param {import("@rain/client").Session} session
 * @param {number} count
 */
export async function submitQueued(session, count) {
  const tasks = Array.from({ length: count }, (_, i) =>
    session.execute(["/bin/echo", `hello ${i}`], { stdout: true, gpus: 1 }),
  );
  await session.submit();
  const last = tasks.at(-1);
  if (last === undefined) throw new Error("count must be at least 1");
  return last;
}

/**
 * The same as one array. No two of the values are alike, and no few numbers say them, so that they travel.
 * @param {import("@rain/client").Session} session
 * @param {number} count
 */
export async function submitQueuedArray(session, count) {
  const values = Array.from(
    { length: count },
    (_, i) => `hello ${((i * 2_654_435_761) % 2 ** 32).toString(36)}`,
  );
  const array = session.array(count, ["/bin/echo", each(values)], { stdout: true, gpus: 1 });
  await session.submit();
  return array.at(-1);
}
