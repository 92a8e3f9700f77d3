import type { World } from "./world.ts";

/** Names of the two ends of a path, in the direction of travel. */
const path = (from: string, to: string): string => `${from}>${to}`;

/** What a process does with a connection. */
export interface Ears {
  onMessage(bytes: Uint8Array): void;
  /** The other side answered a ping. */
  onPong?(value: number): void;
  /** The other side wants a sign of life. */
  onPing?(answer: () => void): void;
  /** The other side closed it, or it was found dead. Never called after the own `close`. */
  onClose(): void;
}

/** One end of a connection. Bytes arrive in order or not at all, as over TCP. */
export class Socket {
  readonly #network: Network;
  readonly at: string;
  readonly to: string;
  /** The role that the dialling side names. */
  readonly role: string;
  open = true;
  ears: Ears | undefined;
  other: Socket | undefined;
  /** When the last thing sent arrives at the earliest. */
  arrival = 0;
  /** Sent while the path was cut: arrives when it heals, if the connection lives so long. */
  readonly held: (() => void)[] = [];

  constructor(network: Network, at: string, to: string, role: string) {
    this.#network = network;
    this.at = at;
    this.to = to;
    this.role = role;
  }

  send(bytes: Uint8Array): void {
    if (this.open) this.#network.carry(this, () => this.#deliver(bytes));
  }
  /** Asks the process at the other end for a sign of life. */
  ping(value: number): void {
    if (!this.open) return;
    this.#network.carry(this, () => {
      const { other } = this;
      if (!other?.open) return;
      other.ears?.onPing?.(() => this.#network.carry(other, () => this.open && this.ears?.onPong?.(value)));
    });
  }
  /** Closes this end; the other end learns of it when the news gets there. */
  close(): void {
    if (!this.open) return;
    this.open = false;
    this.#network.carry(this, () => this.other?.lose());
    this.#network.forget(this);
  }
  /** The process of this end is gone without a word. */
  vanish(): void {
    this.open = false;
    this.#network.forget(this);
  }
  /** This end learns that the connection is dead. */
  lose(): void {
    if (!this.open) return;
    this.open = false;
    this.#network.forget(this);
    this.ears?.onClose();
  }
  #deliver(bytes: Uint8Array): void {
    const { other } = this;
    if (other?.open) other.ears?.onMessage(bytes);
    // A living machine answers for a dead connection.
    else if (this.#network.isUp(this.to)) this.#network.carry(other, () => this.lose());
  }
}

/** Paths between processes: delays, slowness, cuts in one or both directions, and connections that die unnoticed. */
export class Network {
  readonly #world: World;
  readonly #listeners: Map<string, (socket: Socket) => void> = new Map();
  readonly #sockets: Set<Socket> = new Set();
  /** Cut paths, each with the number of the cut. */
  readonly #cuts: Map<string, number> = new Map();
  readonly #slow: Map<string, number> = new Map();
  /** Ends that wait for a path to heal; closed ones too, whose last word is under way. */
  readonly #holding: Set<Socket> = new Set();
  #cutNumber = 0;
  readonly #up: Set<string> = new Set();
  /** Normal delay of one way, milliseconds. */
  readonly #delay: number;

  constructor(world: World) {
    this.#world = world;
    this.#delay = world.random.pick([1, 5, 40]);
  }

  isUp(name: string): boolean {
    return this.#up.has(name);
  }
  setUp(name: string, up: boolean): void {
    if (up) this.#up.add(name);
    else this.#up.delete(name);
  }
  listen(name: string, accept: (socket: Socket) => void): void {
    this.#listeners.set(name, accept);
  }
  unlisten(name: string): void {
    this.#listeners.delete(name);
  }
  isCut(a: string, b: string): boolean {
    return this.#cuts.has(path(a, b)) || this.#cuts.has(path(b, a));
  }
  delay(from: string, to: string): number {
    const { random } = this.#world;
    return random.skewed(0.1, this.#delay) + random.unit() * (this.#slow.get(path(from, to)) ?? 0);
  }

  /** Opens a connection; `done` gets undefined when that fails. */
  dial(from: string, to: string, role: string, done: (socket: Socket | undefined) => void): void {
    const { loop, random } = this.#world;
    const fail = (): void => void loop.after(random.between(100, 3_000), () => done(undefined));
    loop.after(this.delay(from, to) + this.delay(to, from), () => {
      const accept = this.#listeners.get(to);
      if (this.isCut(from, to) || !accept) return fail();
      const near = new Socket(this, from, to, role);
      const far = new Socket(this, to, from, role);
      near.other = far;
      far.other = near;
      this.#sockets.add(near).add(far);
      accept(far);
      done(near);
    });
  }

  /** Carries something along the way of `socket`, behind what was sent before. */
  carry(socket: Socket | undefined, arrive: () => void): void {
    if (!socket) return;
    const { loop } = this.#world;
    const at = Math.max(socket.arrival, loop.now + this.delay(socket.at, socket.to));
    socket.arrival = at;
    loop.at(at, () => {
      if (this.#cuts.has(path(socket.at, socket.to))) {
        socket.held.push(arrive);
        this.#holding.add(socket);
      } else arrive();
    });
  }
  forget(socket: Socket): void {
    this.#sockets.delete(socket);
  }

  /** A read of bytes from one process to another outside of connections. `done` says whether the path held. */
  transfer(from: string, to: string, size: number, done: (arrived: boolean) => void): void {
    const { loop, random } = this.#world;
    const ms = this.delay(to, from) + this.delay(from, to) + size / 50_000;
    loop.after(ms, () => {
      const arrived = !this.isCut(from, to) && this.isUp(from);
      if (arrived) done(true);
      else loop.after(random.between(100, 4_000), () => done(false));
    });
  }

  // --------------------------------------------------------------------------------------------------- faults

  /** The process ends. With `noticed` its machine closes its connections; without, the others find out in time. */
  end(name: string, noticed: boolean): void {
    const { loop, random } = this.#world;
    for (const socket of [...this.#sockets]) {
      if (socket.at !== name) continue;
      if (noticed) socket.close();
      else {
        socket.vanish();
        const { other } = socket;
        loop.after(random.between(5_000, 20_000), () => other?.lose());
      }
    }
    this.setUp(name, false);
    this.unlisten(name);
  }

  /** Nothing travels from `from` to `to` until `heal`. Connections across it die when it lasts. */
  cut(from: string, to: string): void {
    const number = ++this.#cutNumber;
    this.#cuts.set(path(from, to), number);
    const { loop, random } = this.#world;
    for (const socket of this.#sockets) {
      if (!isBetween(socket, from, to)) continue;
      // Both ends notice: one hears nothing, the other gets no acknowledgement of what it sends.
      loop.after(random.between(5_000, 20_000), () => {
        if (this.#cuts.get(path(from, to)) !== number) return;
        socket.lose();
        loop.after(random.between(5_000, 20_000), () => socket.other?.lose());
      });
    }
  }
  heal(from: string, to: string): void {
    if (!this.#cuts.delete(path(from, to))) return;
    for (const socket of [...this.#holding]) {
      if (socket.at !== from || socket.to !== to) continue;
      this.#holding.delete(socket);
      // At once, so that nothing sent later overtakes them.
      for (const arrive of socket.held.splice(0)) arrive();
    }
  }
  healAll(): void {
    for (const each of [...this.#cuts.keys()]) {
      const [from = "", to = ""] = each.split(">");
      this.heal(from, to);
    }
    this.#slow.clear();
  }
  /** Adds up to `ms` to every delay on the path; 0 ends it. */
  slow(from: string, to: string, ms: number): void {
    this.#slow.set(path(from, to), ms);
  }
  /** Breaks the connections between two processes; both notice. */
  reset(a: string, b: string): void {
    for (const socket of [...this.#sockets]) if (isBetween(socket, a, b)) socket.lose();
  }
}

const isBetween = (socket: Socket, a: string, b: string): boolean =>
  (socket.at === a && socket.to === b) || (socket.at === b && socket.to === a);
