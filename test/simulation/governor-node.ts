import {
  isReport,
  laterMessages,
  serverToGovernor,
  type AttemptRef,
  type GovernorMessage,
  type ObjectRef,
  type Resources,
  type Digest,
} from "@rain/protocol";
import {
  attemptKey,
  GovernorCore,
  Outbox,
  type GovernorEffect,
  type GovernorInput,
} from "@rain/governor/core";
import { Executor } from "./executor.ts";
import type { Timer } from "./loop.ts";
import type { Network, Socket } from "./network.ts";
import { Random } from "./random.ts";
import { Stall } from "./stall.ts";
import { Store, type Cluster } from "./store.ts";
import { hear, say } from "./wire.ts";
import type { World } from "./world.ts";

export const SERVER = "server";
const KILL_GRACE_MS = 2_000;
/** Until a cancelled program must be gone. */
const CANCEL_MS = KILL_GRACE_MS + 500;

/** One governor's machine: the production core with a simulated store and executor. Only its identity outlives it. */
export class GovernorNode {
  readonly name: string;
  readonly capacity: Resources;
  readonly identity: string;
  /** From a source of its own, as everything that came to the histories later. */
  readonly onLost: "kill" | "finish";
  readonly #world: World;
  readonly #network: Network;
  readonly #cluster: Cluster;
  /** Of the running process; undefined while there is none. */
  process: GovernorProcess | undefined;
  #starting = false;
  /** It is taken away and does not start again by itself. */
  #isOut = false;
  /** It never comes back. */
  isLost = false;
  /** It ran at some time. */
  hasRun = false;
  /** Attempts that any of its processes began to run. */
  readonly ran: Set<string> = new Set();

  constructor(
    world: World,
    network: Network,
    cluster: Cluster,
    name: string,
    capacity: Resources,
    twinOf?: GovernorNode,
  ) {
    this.#world = world;
    this.#network = network;
    this.#cluster = cluster;
    this.name = name;
    this.capacity = capacity;
    this.identity = twinOf?.identity ?? world.random.token(name);
    this.onLost = new Random(`policy ${name} ${world.seed}`).chance(0.5) ? "kill" : "finish";
  }

  /** Ends it for good, until `start`. */
  takeOut(): void {
    this.#isOut = true;
    this.end(true);
  }
  start(): void {
    this.#starting = false;
    if (this.process || this.isLost) return;
    this.#isOut = false;
    this.hasRun = true;
    this.#network.setUp(this.name, true);
    const again = (ms: number): void => {
      this.end(true);
      this.startAfter(ms);
    };
    this.process = new GovernorProcess(this.#world, this.#network, this.#cluster, this, again);
    this.#world.log(`${this.name} starts as ${this.process.incarnation}`);
    this.process.connect();
  }
  startAfter(ms: number): void {
    if (this.#starting || this.#isOut) return;
    this.#starting = true;
    this.#world.loop.after(ms, () => {
      if (this.#isOut) this.#starting = false;
      else this.start();
    });
  }

  /** The process is gone; `noticed`: its machine lives on and closes its connections. */
  end(noticed: boolean): void {
    this.process?.die();
    this.process = undefined;
    this.#network.end(this.name, noticed);
  }
}

export class GovernorProcess {
  readonly incarnation: string;
  readonly core: GovernorCore;
  readonly store: Store;
  readonly executor: Executor;
  readonly name: string;
  readonly node: GovernorNode;
  readonly #world: World;
  readonly #network: Network;
  readonly #ran: Set<string>;
  readonly #exit: (restartAfterMs: number) => void;
  /** Its monotonic clock started anywhere. */
  readonly #clockBase: number;
  socket: Socket | undefined;
  #timer: Timer | undefined;
  alive = true;
  /** It was told to stop and said so. */
  leaving = false;
  /** Does nothing until then: stopped by a signal, or a long pause of its loop. */
  readonly stall: Stall;
  /** The attempt that the server asks for back right now. */
  #sparing: string | undefined;
  readonly #isOlder: boolean;
  readonly #outbox: Outbox = new Outbox();
  /** The outbox is emptied soon. */
  #isSaying = false;
  /** Reports that were sent once; only for a planted bug. */
  readonly #reported: Set<string> = new Set();

  constructor(
    world: World,
    network: Network,
    cluster: Cluster,
    node: GovernorNode,
    exit: (restartAfterMs: number) => void,
  ) {
    this.#world = world;
    this.#network = network;
    this.#exit = exit;
    this.#ran = node.ran;
    this.stall = new Stall(world.loop);
    this.name = node.name;
    this.node = node;
    this.incarnation = world.random.token("run");
    this.#clockBase = world.random.between(0, 1e9);
    this.store = new Store(world, network, cluster, node.name);
    this.executor = new Executor(world, this, node.capacity);
    const { identity, name, capacity } = node;
    const { incarnation } = this;
    // Some are of an older release, some of one without messages about many attempts.
    this.#isOlder = /[0-3]$/.test(identity);
    const newer = {
      ...(this.#isOlder ? {} : { ahead: true, knows: laterMessages }),
      ...(/[02468]$/.test(incarnation) ? {} : { batch: true }),
    };
    this.core = new GovernorCore({
      hello: { identity, incarnation, name, dataUrl: `http://${name}`, capacity, labels: {}, ...newer },
      killGraceMs: KILL_GRACE_MS,
      onLost: world.bugs.keepsLost ? "finish" : node.onLost,
    });
  }

  die(): void {
    this.alive = false;
    this.socket = undefined;
    this.executor.die();
  }

  connect(): void {
    const { random, loop } = this.#world;
    this.#network.dial(this.name, SERVER, "governor", (socket) => {
      if (!this.alive) return socket?.close();
      if (!socket) {
        loop.after(random.between(50, 2_000), () => this.alive && this.connect());
        return;
      }
      this.socket = socket;
      socket.ears = {
        onMessage: (bytes) => this.awake(() => this.#message(socket, bytes)),
        onPong: (since) =>
          this.awake(() => socket === this.socket && this.input({ type: "server.heard", since })),
        onClose: () => this.awake(() => this.#lost(socket)),
      };
      this.awake(() => socket === this.socket && this.input({ type: "link.up" }));
    });
  }
  #lost(socket: Socket): void {
    if (socket !== this.socket) return;
    this.socket = undefined;
    this.#outbox.clear();
    this.input({ type: "link.down" });
    this.#world.loop.after(this.#world.random.between(10, 1_000), () => this.alive && this.connect());
  }
  #message(socket: Socket, bytes: Uint8Array): void {
    // What comes on a connection that this side has ended is not looked at.
    if (socket !== this.socket || !socket.open) return;
    const message = hear(serverToGovernor, bytes, "message of the server");
    this.#world.log(`${this.name} hears ${JSON.stringify(message, brief)}`);
    const isLater = message.type === "retract" || laterMessages.some((each) => each === message.type);
    this.#world.check(
      !this.#isOlder || !isLater,
      "not-understood",
      () => `${this.name} is of an older release and hears ${message.type}`,
    );
    if (message.type === "registered") this.#outbox.batching = message.batch === true;
    if (message.type === "retract") {
      // The time limit of a program goes on.
      const run = [...this.executor.runs()].find(({ ref }) => attemptKey(ref) === attemptKey(message));
      if (run?.spec.timeoutS === undefined) this.#sparing = attemptKey(message);
      const kills = this.#world.bugs.retractKills === true;
      this.input({ type: "message", message: kills ? { ...message, type: "cancel" } : message });
      this.#sparing = undefined;
      return;
    }
    if (message.type === "cancel") {
      this.#checkStopped(message, CANCEL_MS);
      if (this.#world.bugs.ignoreCancel) return;
    }
    this.input({ type: "message", message });
  }

  /** A cancelled program is gone soon after its grace, unless the whole governor stood still meanwhile. */
  #checkStopped(ref: AttemptRef, ms: number): void {
    const { loop } = this.#world;
    const since = loop.now;
    loop.after(ms, () => {
      if (!this.alive) return;
      if (this.stall.until > since) return this.awake(() => this.#checkStopped(ref, ms));
      this.#world.check(
        !this.executor.isRunning(ref),
        "cancel-in-time",
        () => `${this.name} still runs ${ref.session}/${ref.task}/${ref.attempt}`,
      );
    });
  }

  /** Has it this object with other bytes? */
  hasOther({ session, object, sha256 }: ObjectRef & { readonly sha256: Digest }): boolean {
    return this.core
      .objects()
      .some((each) => each.session === session && each.object === object && each.sha256 !== sha256);
  }

  /** Runs `act` now, or when the stall is over, unless the process is gone by then. */
  awake(act: () => void): void {
    if (this.alive) this.stall.awake(() => this.alive && act());
  }

  input(input: GovernorInput): void {
    if (!this.alive) return;
    const step = this.core.handle(input, this.#clockBase + this.#world.loop.now);
    for (const effect of step.effects) {
      if (this.alive) this.#perform(effect);
    }
    if (this.#timer) this.#timer.cancelled = true;
    if (step.wakeAt === undefined || !this.alive) return;
    this.#timer = this.#world.loop.at(step.wakeAt - this.#clockBase, () =>
      this.awake(() => this.input({ type: "tick", loopDelayMs: 0 })),
    );
  }

  #perform(effect: GovernorEffect): void {
    switch (effect.type) {
      case "send":
        this.#send(effect.message);
        break;
      case "acquire": {
        const { sha256 } = effect;
        if (this.#world.bugs.startBeforeInput) {
          this.#world.loop.after(0, () => this.input({ type: "acquired", sha256 }));
          break;
        }
        const tried = effect.sources.map(({ url }) => url);
        this.store.acquire(effect, (why) => {
          this.awake(() => this.#acquired(sha256, why, tried));
        });
        break;
      }
      case "run":
        this.#ran.add(attemptKey(effect.ref));
        this.executor.run(this.#world.bugs.reuseGpu ? onFirstGpus(effect) : effect);
        break;
      case "terminate":
        this.#world.check(
          attemptKey(effect.ref) !== this.#sparing,
          "retract-spares-running",
          () => `${this.name} ends ${attemptKey(effect.ref)}, which it was only asked to give back`,
        );
        this.executor.terminate(effect.ref, effect.force);
        break;
      case "remove":
        this.store.remove(effect.sha256);
        break;
      case "reconnect": {
        this.#world.log(`${this.name} makes a new connection: ${effect.reason}`);
        const { socket } = this;
        socket?.close();
        if (socket) this.#world.loop.after(0, () => this.alive && this.awake(() => this.#lost(socket)));
        break;
      }
      case "exit":
        this.#world.log(`${this.name} exits: ${effect.reason}`);
        this.#exit(effect.refused ? 3_000 : 500);
        break;
      case "forget":
      case "tickets":
      case "log":
        break;
    }
  }
  #acquired(sha256: Digest, why: string | undefined, tried: readonly string[]): void {
    if (why === undefined) {
      this.store.add(sha256);
      this.input({ type: "acquired", sha256 });
    } else this.input({ type: "acquire.failed", sha256, why, tried });
  }

  #send(message: GovernorMessage): void {
    if (this.#world.bugs.forgetToResend && isReport(message)) {
      const key = `${message.type} ${message.session}/${message.task}/${message.attempt}`;
      if (this.#reported.has(key)) return;
      this.#reported.add(key);
    }
    if (this.#world.bugs.registerWithout && message.type === "register") {
      this.#say();
      return say(this.socket, { ...message, attempts: [] });
    }
    if (message.type === "leaving") this.leaving = true;
    if (message.type === "heartbeat") this.socket?.ping(this.#clockBase + this.#world.loop.now);
    this.#outbox.add(message);
    if (!this.#outbox.batching || message.type !== "finish") return this.#say();
    if (this.#isSaying) return;
    // A turn of the event loop, or the time that a finish may wait for others; sometimes longer than either.
    this.#isSaying = true;
    this.#world.loop.after(/[0-5]$/.test(this.incarnation) ? 50 : 0, () => {
      this.#isSaying = false;
      if (this.alive) this.awake(() => this.#say());
    });
  }

  #say(): void {
    for (const message of this.#outbox.take()) {
      if (message.type !== "heartbeat")
        this.#world.log(`${this.name} says ${JSON.stringify(message, brief)}`);
      say(this.socket, message);
    }
  }
}

/** For a planted bug: the units that every attempt gets. */
function onFirstGpus(run: Extract<GovernorEffect, { type: "run" }>): typeof run {
  const gpus = run.allocation.gpus.map((_index, at) => at);
  return { ...run, allocation: { ...run.allocation, gpus } };
}

/** For the log: bytes as their number, specs and digests short. */
export function brief(key: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (key === "sha256" && typeof value === "string") return value.slice(0, 6);
  if (key === "spec" || key === "info" || key === "sources" || key === "capacity") return undefined;
  return value;
}
