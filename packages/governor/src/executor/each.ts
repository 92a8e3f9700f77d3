/** Runs `work` on every item, at most `atOnce` at a time. The first error is thrown when all that began has ended. */
export async function eachLimited<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const rest = items.values(); // shared by all lanes
  let failed = false;
  const lane = async (): Promise<void> => {
    for (const item of rest) {
      if (failed) return;
      try {
        await work(item);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const lanes = Array.from({ length: Math.min(atOnce, items.length) }, lane);
  const results = await Promise.allSettled(lanes);
  const broken = results.find((result) => result.status === "rejected");
  if (broken !== undefined) throw broken.reason;
}
