import { createServer, connect, type Server, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import type { PRNG } from "seedrandom";

type Direction = "up" | "down";
interface Gate {
  readonly opened: Promise<void>;
  readonly open: () => void;
}

/**
 * A TCP proxy that is bad at it: it delays bytes, cuts connections, and lets some hang half open, where nothing comes
 * through any more and nobody is told.
 */
export class BadProxy {
  readonly #target: () => number;
  readonly #random: PRNG;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** The end of one of these is not told to the other side. */
  readonly #hanging = new WeakSet<Socket>();
  readonly counts: { connections: number; delays: number; cuts: number; halfOpen: number } = {
    connections: 0,
    delays: 0,
    cuts: 0,
    halfOpen: 0,
  };
  #isBad = true;
  /** While bytes of a direction are held back: resolves when they may go on. */
  readonly #gates: { up: Gate | undefined; down: Gate | undefined } = { up: undefined, down: undefined };

  /** `target`: port of the real server on 127.0.0.1. */
  constructor(target: () => number, random: PRNG) {
    this.#target = target;
    this.#random = random;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  async listen(): Promise<number> {
    await new Promise<void>((done) => this.#server.listen(0, "127.0.0.1", done));
    return (this.#server.address() as AddressInfo).port;
  }

  /** From now on it does what a proxy should; connections that hang are cut. */
  behave(): void {
    this.#isBad = false;
    for (const socket of this.#sockets) socket.destroy();
  }

  /** All connections that are there hang half open: neither bytes nor an end come through. */
  hang(): void {
    this.counts.halfOpen += this.#sockets.size / 2;
    for (const socket of this.#sockets) {
      this.#hanging.add(socket);
      socket.pause();
    }
  }

  /** Holds bytes back, to the server (`up`), from it or both, on all connections that are and will be. */
  hold(...directions: readonly Direction[]): void {
    for (const direction of directions) {
      let open: () => void = () => undefined;
      const opened = new Promise<void>((resolve) => (open = resolve));
      this.#gates[direction] ??= { opened, open };
    }
  }
  /** What was held back goes on. */
  heal(): void {
    for (const direction of ["up", "down"] as const) {
      this.#gates[direction]?.open();
      this.#gates[direction] = undefined;
    }
  }

  async close(): Promise<void> {
    this.heal();
    this.behave();
    await new Promise((done) => this.#server.close(done));
  }

  #accept(near: Socket): void {
    this.counts.connections += 1;
    const far = connect(this.#target(), "127.0.0.1");
    for (const [from, to, direction] of [
      [near, far, "up"],
      [far, near, "down"],
    ] as const) {
      this.#sockets.add(from);
      const ended = (): void => {
        if (!this.#hanging.has(from)) to.destroy();
      };
      from.on("error", ended); // a cut is what this is here for
      from.on("close", () => {
        this.#sockets.delete(from);
        ended();
      });
      this.#pass(from, to, direction);
    }
    if (this.#isBad) this.#plan(near, far);
  }

  /** Bytes in their order, each piece perhaps later. */
  #pass(from: Socket, to: Socket, direction: Direction): void {
    let before: Promise<void> = Promise.resolve();
    from.on("data", (chunk) => {
      const late = this.#isBad && this.#random() < 0.1;
      if (late) this.counts.delays += 1;
      const wait = late ? this.#random() * 150 : 0;
      before = after(
        before,
        () => this.#gates[direction]?.opened,
        wait,
        () => {
          if (!to.destroyed) to.write(chunk);
        },
      );
    });
    from.on(
      "end",
      () =>
        void after(
          before,
          () => undefined,
          0,
          () => {
            if (!this.#hanging.has(from)) to.end();
          },
        ),
    );
  }

  /** Every other connection comes to a bad end within seconds. */
  #plan(near: Socket, far: Socket): void {
    const kind = this.#random();
    if (kind > 0.5) return;
    const timer = setTimeout(() => {
      if (!this.#isBad) return;
      if (kind < 0.35) {
        this.counts.cuts += 1;
        near.destroy();
        far.destroy();
      } else {
        this.counts.halfOpen += 1;
        near.pause();
        far.pause();
      }
    }, this.#random() * 4_000);
    near.on("close", () => clearTimeout(timer));
  }
}

/** Does something when what came before is done, a gate is open, and so many milliseconds later. */
async function after(
  before: Promise<void>,
  gate: () => Promise<void> | undefined,
  wait: number,
  then: () => void,
): Promise<void> {
  await before;
  await gate();
  if (wait > 0) await new Promise((done) => setTimeout(done, wait));
  then();
}
