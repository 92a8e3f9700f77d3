import type { IncomingMessage } from "node:http";
import { readAnswer, type Take } from "@rain/protocol/bytes";

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

export const bodyOf = (answer: IncomingMessage): Body => ({
  status: answer.statusCode ?? 0,
  headers: answer.headers,
  read: (take) => readAnswer(answer, take),
  close: () => void answer.destroy(),
});
