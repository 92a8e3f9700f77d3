/**
 * `/bin/echo hello` so many times, with its output captured and fetched: tasks a second, from the first line of the
 * script to the last byte fetched.
 * @param {import("@rain/client").Client} client
 * @param {number} count
 */
export async function echoes(client, count) {
  const session = await client.newSession("bench echo");
  const begin = performance.now();
  const tasks = Array.from({ length: count }, () =>
    session.execute(["/bin/echo", "hello"], { stdout: true }),
  );
  for (const task of tasks) task.output.keep();
  await session.submit();
  const texts = await Promise.all(tasks.map(async (task) => (await task.output.fetch()).text()));
  const seconds = (performance.now() - begin) / 1000;
  if (!texts.every((text) => text === "hello\n")) throw new Error("an output is not what /bin/echo wrote");
  await session.close();
  return count / seconds;
}
