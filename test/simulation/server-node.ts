import {
  asDigest,
  blobPath,
  clientRequest,
  governorMessage,
  limits,
  timing,
  type AssignedInput,
  type Digest,
  type GovernorId,
  type ObjectId,
  type ServerToGovernor,
  type SessionId,
} from "@rain/protocol";
import {
  DurableState,
  isHint,
  type DraftInput,
  type ServerConfig,
  type ServerEffect,
  type ServerInput,
} from "@rain/server/core";
import { ServerDriver, type Clock, type RecordSink } from "../../packages/server/src/driver.ts";
import { openJournal } from "../../packages/server/src/journal/open.ts";
import { GovernorMail } from "../../packages/server/src/mail.ts";
import { breakCore, BrokenSink, ForgetfulState } from "./broken.ts";
import { Disk } from "./disk.ts";
import { brief, SERVER } from "./governor-node.ts";
import type { Timer } from "./loop.ts";
import type { Network, Socket } from "./network.ts";
import { Stall } from "./stall.ts";
import { sourceUrl } from "./store.ts";
import { WatchedCore, type Watch } from "./watch/watch.ts";
import { hear, say } from "./wire.ts";
import { CLUSTER_ID, type World } from "./world.ts";

export interface JournalSizes {
  readonly segmentBytes: number;
  readonly compactAfterBytes: number;
  readonly batchBytes: number;
}

const UPLOAD_GRACE_MS = 600_000;

/** The server's machine: its disk and uploaded blobs outlive the processes. */
export class ServerNode {
  readonly disk: Disk;
  /** Uploaded constants, by digest; on disk. */
  readonly blobs: Map<Digest, number> = new Map();
  /** When each was uploaded last. */
  readonly #uploaded: Map<Digest, number> = new Map();
  readonly #world: World;
  readonly #network: Network;
  readonly #watch: Watch;
  readonly #sizes: JournalSizes;
  process: ServerProcess | undefined;
  #starting = false;
  starts = 0;
  /** How often its power was lost. */
  losses = 0;

  constructor(world: World, network: Network, watch: Watch, sizes: JournalSizes) {
    this.#world = world;
    this.#network = network;
    this.#watch = watch;
    this.#sizes = sizes;
    this.disk = new Disk(world);
  }

  upload(sha256: Digest, size: number): void {
    this.blobs.set(sha256, size);
    this.#uploaded.set(sha256, this.#world.loop.now);
  }
  /** As the real folder: not while a submit that names it may be on its way. */
  removeBlob(sha256: Digest): void {
    const age = this.#world.loop.now - (this.#uploaded.get(sha256) ?? -Infinity);
    if (age >= UPLOAD_GRACE_MS) this.blobs.delete(sha256);
  }

  start(): void {
    if (this.process) return;
    this.#starting = false;
    this.starts++;
    this.#world.log(`the server starts (${this.starts})`);
    const process = new ServerProcess(this.#world, this.#network, this, this.#watch, () => {
      this.end(true);
      this.startAfter(this.#world.random.between(100, 5_000));
    });
    this.process = process;
    openJournal(
      {
        storage: this.disk,
        clusterId: CLUSTER_ID,
        newState: () => (this.#world.bugs.shortSnapshot ? new ForgetfulState() : new DurableState()),
        onFatal: (error) => process.fatal(error.message),
        onNote: (note) => this.#world.log(`journal: ${note.text}`),
        ...this.#sizes,
      },
      (error, opened) => {
        if (process !== this.process) return;
        if (error || !opened) process.fatal(error?.message ?? "not opened");
        else process.opened(opened.journal, opened.state);
      },
    );
  }
  startAfter(ms: number): void {
    if (this.#starting) return;
    this.#starting = true;
    this.#world.loop.after(ms, () => this.start());
  }

  /** The process is gone: killed (`noticed`: its machine closes its connections) or with the power. */
  end(noticed: boolean): void {
    if (!this.process) return;
    this.process.die();
    this.process = undefined;
    this.#watch.serverEnded();
    if (noticed) this.disk.kill();
    else {
      this.losses++;
      this.disk.powerLoss();
    }
    this.#network.end(SERVER, noticed);
  }
}

/** One process of the server: production driver, core and journal; simulated sockets and clock. */
export class ServerProcess {
  readonly #world: World;
  readonly #network: Network;
  readonly #node: ServerNode;
  readonly #watch: Watch;
  readonly #exit: () => void;
  readonly #clockBase: number;
  readonly #sockets: Map<number, Socket> = new Map();
  readonly #mail: GovernorMail = new GovernorMail({
    send: (connection, message) => this.#tell(connection, message),
    address: (input) => this.#address(input),
    onTooLarge: (_effect, error) => {
      throw error;
    },
  });
  #driver: ServerDriver | undefined;
  core: WatchedCore | undefined;
  #timer: Timer | undefined;
  #connections = 0;
  /** Parts of submits that are under way, by connection and key. */
  readonly #parts: Map<string, { tasks: object[]; constants: object[] }> = new Map();
  alive = true;
  readonly stall: Stall;

  constructor(world: World, network: Network, node: ServerNode, watch: Watch, exit: () => void) {
    this.#world = world;
    this.#network = network;
    this.#node = node;
    this.#watch = watch;
    this.#exit = exit;
    this.stall = new Stall(world.loop);
    this.#clockBase = world.random.between(0, 1e9);
  }

  get now(): number {
    return this.#clockBase + this.#world.loop.now;
  }

  die(): void {
    this.alive = false;
    this.#driver?.stop();
    if (this.#timer) this.#timer.cancelled = true;
  }
  fatal(why: string): void {
    this.#world.log(`the server stops: ${why}`);
    // Only injected faults of the disk may stop it; a journal that cannot be read is a bug.
    this.#world.check(/EIO|ENOSPC/.test(why), "journal-damaged", () => why);
    if (this.alive) this.#exit();
  }

  opened(journal: RecordSink, state: DurableState): void {
    const { bugs, random } = this.#world;
    const config: ServerConfig = {
      version: "0",
      clusterId: CLUSTER_ID,
      instance: random.token("instance"),
      leaseMs: timing.leaseMs,
      heartbeatMs: timing.heartbeatMs,
      sessionLeaseMs: timing.sessionLeaseMs,
      crashLimit: limits.crashLimit,
      aheadMs: 120_000, // simulated programs are longer than those that it is made for
    };
    const core = new WatchedCore(config, state, this.now, this.#watch);
    breakCore(core, bugs);
    this.core = core;
    this.#watch.serverStarted(core, this.#node.disk, this);
    const real: RecordSink =
      bugs.acknowledgeBeforeSync || bugs.forgetHints ? new BrokenSink(journal, bugs) : journal;
    const sink: RecordSink = {
      commit: (records, release) => {
        const ordinal = this.#watch.committed(
          records.length,
          records.some((each) => !isHint(each)),
        );
        real.commit(records, () => {
          if (!this.alive) return;
          this.#watch.releasing(ordinal);
          release();
        });
      },
    };
    const clock: Clock = { now: () => this.now, wakeAt: (at, wake) => this.#wakeAt(at, wake) };
    this.#driver = new ServerDriver(core, sink, clock, {
      perform: (effect) => this.#perform(effect),
      performed: () => this.#mail.flush(),
    });
    this.#network.setUp(SERVER, true);
    this.#network.listen(SERVER, (socket) => this.#accept(socket));
    this.input({ type: "tick" });
  }

  #wakeAt(at: number, wake: () => void): void {
    if (this.#timer) this.#timer.cancelled = true;
    this.#timer = this.#world.loop.at(at - this.#clockBase, () => this.awake(wake));
  }
  awake(act: () => void): void {
    if (this.alive) this.stall.awake(() => this.alive && act());
  }
  input(input: ServerInput): void {
    if (this.alive) this.#driver?.input(input);
  }

  // ------------------------------------------------------------------------------------------------ connections

  #accept(socket: Socket): void {
    const connection = ++this.#connections;
    this.#sockets.set(connection, socket);
    const isGovernor = socket.role === "governor";
    socket.ears = {
      onMessage: (bytes) =>
        this.awake(() => {
          if (!this.#sockets.has(connection)) return;
          if (isGovernor) this.#governorSays(connection, socket, bytes);
          else this.#clientSays(connection, socket, bytes);
        }),
      onPing: (answer) => this.awake(answer),
      onClose: () =>
        this.awake(() => {
          if (!this.#sockets.delete(connection)) return;
          this.#mail.gone(connection);
          this.input({ type: isGovernor ? "governor.gone" : "client.gone", connection });
        }),
    };
  }
  #governorSays(connection: number, socket: Socket, bytes: Uint8Array): void {
    const message = hear(governorMessage, bytes, "message of a governor");
    this.#watch.heard(socket.to);
    this.input({ type: "governor.message", connection, message });
  }
  #clientSays(connection: number, socket: Socket, bytes: Uint8Array): void {
    const request = hear(clientRequest, bytes, "request of a client");
    if (request.type !== "submit") return this.input({ type: "client.request", connection, request });
    const { req, session, key, part, last } = request;
    const name = `${connection} ${key}`;
    const before = part === 0 ? undefined : this.#parts.get(name);
    const tasks = [...((before?.tasks ?? []) as typeof request.tasks), ...request.tasks];
    const constants = [...((before?.constants ?? []) as typeof request.constants), ...request.constants];
    if (!last) {
      this.#parts.set(name, { tasks, constants });
      return say(socket, { type: "reply", req, ok: {} });
    }
    this.#parts.delete(name);
    this.input({
      type: "client.request",
      connection,
      request: { type: "submit", req, session, key, tasks, constants },
    });
  }

  // ---------------------------------------------------------------------------------------------------- effects

  #perform(effect: ServerEffect): void {
    if (!this.alive) return;
    switch (effect.type) {
      case "reply":
      case "error": {
        const { connection, ...message } = effect;
        say(this.#sockets.get(connection), message);
        break;
      }
      case "send":
        this.#mail.send(effect.connection, effect.message);
        break;
      case "registered": {
        const { connection, governor, epoch, batch } = effect;
        const { heartbeatMs, leaseMs } = timing;
        const ticketKey = new Uint8Array(4);
        this.#mail.registered(connection, batch);
        this.#mail.send(connection, {
          type: "registered",
          governor,
          epoch,
          heartbeatMs,
          leaseMs,
          ticketKey,
          ...(batch ? { batch } : {}),
        });
        break;
      }
      case "assign":
        this.#mail.assign(effect);
        break;
      case "copy":
        this.#copy(effect);
        break;
      case "close": {
        this.#mail.flush();
        const socket = this.#sockets.get(effect.connection);
        this.#sockets.delete(effect.connection);
        socket?.close();
        break;
      }
      case "blob.remove":
        this.#node.removeBlob(asDigest(effect.sha256));
        break;
      case "exit":
        this.#exit();
        break;
      case "log":
        this.#world.log(`server: ${effect.text}`);
        break;
    }
  }
  #tell(connection: number, message: ServerToGovernor): void {
    const socket = this.#sockets.get(connection);
    if (socket) this.#world.log(`server says to ${socket.to} ${JSON.stringify(message, brief)}`);
    say(socket, message);
  }
  #address({ holders, onServer, ...input }: DraftInput): AssignedInput {
    const sources = holders.map((id) => ({
      url: sourceUrl(this.core?.durable.governors.get(id)?.name ?? "", input.sha256),
      ticket: "ticket",
    }));
    if (onServer) sources.push({ url: blobPath(input.sha256), ticket: "ticket" });
    return { ...input, sources };
  }

  #copy({ connection, objects }: Extract<ServerEffect, { type: "copy" }>): void {
    const addressed = objects.map(({ holders, ...object }) => ({
      ...object,
      sources: holders.map((id) => ({
        url: sourceUrl(this.core?.durable.governors.get(id)?.name ?? "", object.sha256),
        ticket: "ticket",
      })),
    }));
    this.#mail.send(connection, { type: "copy", objects: addressed });
  }

  /** An operator drains a governor. */
  drain(governor: GovernorId): void {
    if (this.stall.until > this.#world.loop.now) return; // nobody answers the operator
    this.input({
      type: "client.request",
      connection: 0,
      request: { type: "governor.drain", req: 0, governor },
    });
  }

  // ------------------------------------------------------------------------------------------------------- http

  /** A client reads the bytes of a large object: `done` gets the digest of what it got, or nothing. */
  read(
    session: SessionId,
    object: ObjectId,
    governors: ReadonlyMap<string, ReadStore>,
    done: ReadDone,
  ): void {
    const where = this.core?.locate(session, object);
    if (!where) return done(undefined);
    if (where.kind === "data") return done(where.sha256);
    if (where.kind === "blob") {
      return done(this.#node.blobs.has(asDigest(where.sha256)) ? where.sha256 : undefined);
    }
    const [governor] = where.holders;
    const name = governor === undefined ? undefined : this.core?.durable.governors.get(governor)?.name;
    if (governor === undefined || name === undefined) return done(undefined);
    this.#network.transfer(name, SERVER, where.size, (arrived) => {
      if (!arrived || !this.alive) return done(undefined);
      const store = governors.get(name)?.store;
      if (store?.has(asDigest(where.sha256))) return done(where.sha256);
      this.#world.log(`server: ${name} does not have ${session}/o${object}`);
      this.awake(() => this.input({ type: "replica.missing", ref: { session, object }, governor }));
      done(undefined);
    });
  }
}
type ReadDone = (sha256: string | undefined) => void;
interface ReadStore {
  readonly store: { has(sha256: Digest): boolean } | undefined;
}
