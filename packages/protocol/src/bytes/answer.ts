import type { IncomingMessage } from "node:http";

/** Takes a piece of a body; a promise while no more may come. */
export type Take = (chunk: Buffer) => Promise<void> | undefined;

/**
 * Reads the whole answer of an HTTP request. It listens for data, and does not iterate: that took half as long again.
 * Throws what `take` throws, and errors of the network; when it settles, nothing is being taken any more.
 */
export async function readAnswer(answer: IncomingMessage, take: Take): Promise<void> {
  let taking: Promise<void> | undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      answer.on("data", (chunk: Buffer) => {
        try {
          taking = take(chunk);
        } catch (error) {
          answer.pause();
          reject(error);
          return;
        }
        if (taking === undefined) return;
        answer.pause();
        taking.then(() => answer.resume(), reject);
      });
      answer.on("end", resolve);
      answer.on("error", reject);
      answer.on("close", () => reject(new Error("cut")));
    });
  } finally {
    await taking;
  }
}
