import type { IncomingMessage } from "node:http";

/** The bytes of an answer. */
export interface Body {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /**
   * Hands them over as they come, the next ones when `take` is done with these; a piece is good until `take` returns.
   * Throws what `take` throws, and errors of the network.
   */
  readonly read: (take: Take) => Promise<void>;
  readonly close: () => void;
}

type Take = (chunk: Buffer) => Promise<void> | undefined;

export const bodyOf = (answer: IncomingMessage): Body => ({
  status: answer.statusCode ?? 0,
  headers: answer.headers,
  read: (take) => readAnswer(answer, take),
  close: () => void answer.destroy(),
});

/** It listens for data, and does not iterate: that took half as long again. */
async function readAnswer(answer: IncomingMessage, take: Take): Promise<void> {
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
