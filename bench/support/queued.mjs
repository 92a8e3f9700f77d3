export const QUEUED = 100_000;

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
