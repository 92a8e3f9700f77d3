export const QUEUED = 100_000;

/**
 * Submits tasks that no governor can run, so that they stay in the server's queue.
 * @param {import("@rain/client").Session} session
 * @param {number} count
 */
export async function submitQueued(session, count) {
  for (let i = 0; i < count; i += 1) session.execute(["/bin/echo", `hello ${i}`], { stdout: true, gpus: 1 });
  await session.submit();
}
