import type { Server, Socket } from "node:net";
import { limits } from "../limits.ts";

/**
 * Connections whose peer has not proved anything: few, and each for a short time. When there are too many the oldest
 * goes: to refuse new ones instead would let anyone lock everyone out.
 */
export class Lobby {
  /** Oldest first, by the far end: with TLS, the connection and what is read from it are two sockets. */
  readonly #waiting: Map<string, { readonly socket: Socket; readonly timer: NodeJS.Timeout }> = new Map();
  readonly #max: number;
  readonly #onClosed: (why: "late" | "full") => void;

  /** `onClosed` is told of every connection that is closed here. */
  constructor(
    max: number = limits.unauthenticated,
    onClosed: (why: "late" | "full") => void = () => undefined,
  ) {
    this.#max = max;
    this.#onClosed = onClosed;
  }

  /** Looks after every connection of a server from now on. */
  watch(server: Server): void {
    server.on("connection", (socket: Socket) => this.#enter(socket));
  }

  /** The peer has proved who it is. */
  admit(socket: Socket): void {
    const entry = this.#waiting.get(farEnd(socket));
    if (entry !== undefined) this.#forget(farEnd(socket), entry.timer);
  }

  #enter(socket: Socket): void {
    const key = farEnd(socket);
    const timer = setTimeout(() => this.#close(key, "late"), limits.unauthenticatedMs);
    timer.unref();
    this.#waiting.set(key, { socket, timer });
    socket.once("close", () => {
      if (this.#waiting.get(key)?.socket === socket) this.#forget(key, timer);
    });
    const [oldest] = this.#waiting.keys();
    if (oldest !== undefined && this.#waiting.size > this.#max) this.#close(oldest, "full");
  }

  #close(key: string, why: "late" | "full"): void {
    const entry = this.#waiting.get(key);
    if (entry === undefined) return;
    this.#forget(key, entry.timer);
    entry.socket.destroy();
    this.#onClosed(why);
  }

  #forget(key: string, timer: NodeJS.Timeout): void {
    clearTimeout(timer);
    this.#waiting.delete(key);
  }
}

const farEnd = (socket: Socket): string => `${socket.remoteAddress ?? ""} ${socket.remotePort ?? 0}`;
