import { FinishList, unpackFinishes, type GovernorMessage, type GovernorMessageOf } from "@rain/protocol";

/**
 * What is to be said to the server in this turn of the event loop, in order. Plain reports of success in a row become
 * one message, when the server understands it.
 */
export class Outbox {
  /** The server said that it understands `finish.batch`. */
  batching = false;
  #waiting: (GovernorMessage | FinishList)[] = [];

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  add(message: GovernorMessage): void {
    if (!this.batching || message.type !== "finish" || message.metrics !== undefined) {
      this.#waiting.push(message);
      return;
    }
    const last = this.#waiting.at(-1);
    if (last instanceof FinishList && last.add(message.session, message)) return;
    this.#waiting.push(new FinishList(message.session, message));
  }

  /** All of it, which is then said. */
  take(): GovernorMessage[] {
    const waiting = this.#waiting;
    this.#waiting = [];
    return waiting.map((each) => (each instanceof FinishList ? ofList(each) : each));
  }

  /** The connection is gone: what was to be said on it is not. */
  clear(): void {
    this.#waiting = [];
    this.batching = false;
  }
}

function ofList(list: FinishList): GovernorMessage {
  const [first] = list.all;
  if (list.length > 1 || first === undefined) return { type: "finish.batch", ...list.pack() };
  return { type: "finish", session: list.session, ...first };
}

/** The reports of a batch one by one, for when something is wrong with one of them. */
export function* reportsOf(
  message: GovernorMessageOf<"finish.batch">,
): Generator<GovernorMessageOf<"finish">, void> {
  const { session } = message;
  for (const finish of unpackFinishes(message)) yield { type: "finish", session, ...finish };
}
