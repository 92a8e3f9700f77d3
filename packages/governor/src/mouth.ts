import type { GovernorMessage } from "@rain/protocol";
import { Outbox } from "./core/index.ts";

/** A message for each finish costs a wake and a sync of the server, which is more than all else about a short program. */
const GATHER_MS = 20;

/**
 * When the governor says what it has to say: at the end of the turn of the event loop, with all that came in it. While
 * there is more to run than cpus, what has finished waits a little longer for others.
 */
export class Mouth {
  readonly #outbox = new Outbox();
  readonly #say: (messages: readonly GovernorMessage[]) => void;
  #isUrgent = false;
  #turn: NodeJS.Immediate | undefined;
  #gathering: NodeJS.Timeout | undefined;

  constructor(say: (messages: readonly GovernorMessage[]) => void) {
    this.#say = say;
  }

  /** The server said whether it understands messages about many attempts. */
  set batching(is: boolean) {
    this.#outbox.batching = is;
  }

  add(message: GovernorMessage): void {
    this.#outbox.add(message);
    if (message.type !== "finish") this.#isUrgent = true;
  }

  /** At the end of a step of the core. */
  saySoon(hasMore: boolean): void {
    if (this.#outbox.isEmpty) return;
    if (hasMore && !this.#isUrgent) this.#gathering ??= setTimeout(() => this.sayNow(), GATHER_MS);
    else this.#turn ??= setImmediate(() => this.sayNow());
  }

  sayNow(): void {
    this.#rest();
    this.#say(this.#outbox.take());
  }

  /** The connection is gone: what was to be said on it is not. */
  clear(): void {
    this.#rest();
    this.#outbox.clear();
  }

  #rest(): void {
    clearImmediate(this.#turn);
    clearTimeout(this.#gathering);
    this.#turn = undefined;
    this.#gathering = undefined;
    this.#isUrgent = false;
  }
}
