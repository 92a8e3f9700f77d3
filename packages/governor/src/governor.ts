import { hostname } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay, type IntervalHistogram } from "node:perf_hooks";
import {
  environmentLabel,
  isLoopbackHost,
  laterMessages,
  RainError,
  timing,
  type AttemptRef,
  type Digest,
  type GovernorHello,
  type GovernorId,
  type GovernorMessage,
  type Resources,
  type ServerToGovernor,
} from "@rain/protocol";
import { AuditLog } from "@rain/protocol/audit";
import { lockFolder, secureFolder } from "@rain/protocol/lock";
import {
  machineNames,
  openCertificate,
  pinOf,
  publicHost,
  urlHost,
  type Certificate,
} from "@rain/protocol/tls";
import { nanoid } from "nanoid";
import { allowedCpus } from "./capacity.ts";
import {
  GovernorCore,
  Outbox,
  type GovernorEffect,
  type GovernorInput,
  type RunOutcome,
} from "./core/index.ts";
import { attemptKey } from "./core/types.ts";
import {
  Executor,
  ZeroExecutor,
  type MemoryLimitChoice,
  type OwnExecutor,
  type RunEffect,
  type Runner,
} from "./executor/index.ts";
import { SteadyClock } from "./clock.ts";
import { readIdentity } from "./identity.ts";
import { errorCode } from "./monitor/errno.ts";
import { BlobStore, RunStore, Trees } from "./store/index.ts";
import { Acquirer, DataPort, type AcquireEffect } from "./transfer/index.ts";
import { Uplink } from "./uplink.ts";

export type Log = (level: "info" | "warn" | "error", text: string) => void;

export interface GovernorOptions {
  /** `http://host:port` of the server on loopback, `https://host:port` elsewhere. */
  readonly serverUrl: string;
  /** The server's certificate, from the access file; needed with https. */
  readonly certPem?: string | undefined;
  /** Where it is from, for messages. */
  readonly accessFile?: string | undefined;
  /** Key of the governor's role; as a function, it is asked for again whenever the server is connected to. */
  readonly key: string | (() => Promise<string>);
  readonly clusterId?: string;
  /** Folder of this governor alone; made when missing. */
  readonly workdir: string;
  /** For people; default: the machine's name. */
  readonly name?: string;
  /** What tasks may use; GPUs are whole. */
  readonly capacity: Resources;
  readonly labels?: Readonly<Record<string, string>>;
  /** Prefixes of the environments that tasks may name. */
  readonly environments?: Readonly<Record<string, readonly string[]>>;
  /** Own executors by their names: programs for tasks NAME/METHOD, see docs/executors.md. */
  readonly executors?: Readonly<Record<string, OwnExecutor>>;
  /** For measuring: run nothing, and report every task as done at once, with empty outputs. */
  readonly zero?: boolean;
  readonly costPerHour?: number;
  /** Give each task that asks for whole cpus so many of its own, by `taskset`. */
  readonly pinCpus?: boolean;
  /** Address of the data port; default 127.0.0.1. Everywhere but on loopback it speaks TLS. */
  readonly listenHost?: string;
  /** Port of the data port; default: any that is free. */
  readonly dataPort?: number;
  /** Where the server finds the data port, when that is not where it listens: the near end of a tunnel. */
  readonly dataUrl?: string;
  /**
   * `host:port` of the server as it knows itself, when `serverUrl` is the near end of a tunnel to it. The data ports
   * of other governors cannot be reached then: the server passes their objects on.
   */
  readonly tunnelTo?: string;
  /** A program that writes more than this to an stdout or stderr that is an output is stopped, bytes. */
  readonly captureBytes?: number;
  /** How programs are held to the memory that their tasks asked for; default "auto": by control groups if they can be had. */
  readonly memoryLimit?: MemoryLimitChoice;
  /** Processes that one program and its children may be at once. */
  readonly taskProcesses?: number;
  /**
   * Bytes of objects that are kept although nobody needs them any more, in case that somebody does; 0 for none.
   * Default: 2 GiB, but no more than a tenth of the disk that is free.
   */
  readonly cacheBytes?: number;
  /** Objects that are read from others at once. */
  readonly transfers?: number;
  readonly log: Log;
  /** From TERM to KILL, milliseconds. */
  readonly killGraceMs?: number;
  /**
   * What becomes of programs when the server may have given this governor up: "finish" (the default) lets them end, and
   * their results are dropped if others have made them meanwhile; "kill" ends them before others can run them.
   */
  readonly onLost?: "kill" | "finish";
  /** Environment that tasks start from; default: this process's own. */
  readonly env?: NodeJS.ProcessEnv;
}

export interface Governor {
  /** First successful registration. Rejects when the governor ends before it. */
  registered(): Promise<GovernorId>;
  /** Ends programs and exits; a second call kills at once. Resolves when all is over. */
  stop(): Promise<void>;
  /** Settles when the governor has ended. `code` is a process exit code: 0, 70 a bug, 1, 76 or 77 not accepted. */
  readonly exited: Promise<{ readonly code: number; readonly reason: string }>;
}

const EXIT_REFUSED = 1;
const EXIT_BUG = 70;
const EXIT_VERSION = 76;
const EXIT_NOT_ALLOWED = 77;
/** The longest time that a timer of Node can wait. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const DELAY_RESOLUTION_MS = 20;

/**
 * Starts a governor: prepares its work folder, listens, and connects to the server, again and again until it is there.
 * Throws RainError: "not-allowed" (work folder in use, or not safe), "bad-file" (damaged identity), "bad-request".
 */
export async function startGovernor(options: GovernorOptions): Promise<Governor> {
  const listenHost = options.listenHost ?? "127.0.0.1";
  if (!Number.isInteger(options.capacity.gpus)) {
    throw new RainError("bad-request", `a capacity of ${options.capacity.gpus} gpus: GPUs are whole`);
  }
  for (const [name, executor] of Object.entries(options.executors ?? {})) checkExecutor(name, executor);
  const { workdir } = options;
  await secureFolder(workdir, "the work folder");
  const unlock = await lockFolder(workdir, {
    what: "the work folder",
    remedy: "stop that governor, or give this one another work folder",
  });
  const undo: (() => Promise<void>)[] = [unlock];
  try {
    const identity = await readIdentity(workdir);
    const trees = await Trees.open(workdir, (error) =>
      options.log("warn", `removing an unpacked directory: ${String(error)}`),
    );
    const store = await BlobStore.open(workdir, {
      cache: { bytes: options.cacheBytes },
      besides: (sha256) => trees.bytesOf(sha256),
      onGone: (sha256) => trees.drop(sha256),
    });
    const host = await publicHost(listenHost);
    const certificate = isLoopbackHost(listenHost)
      ? undefined
      : await openCertificate(join(workdir, "tls.pem"), [host], machineNames());
    const audit = new AuditLog(join(workdir, "logs"), (error) =>
      options.log("error", `the audit log cannot be written: ${String(error)}`),
    );
    const parts = new Shell(options, { identity, certificate, host, audit }, store, trees, unlock);
    undo.push(() => parts.dispose());
    await parts.start(listenHost);
    return parts;
  } catch (error) {
    for (const step of undo.toReversed()) await step();
    throw error;
  }
}

/** The cpus that tasks are pinned to. Throws RainError "bad-request" when there are fewer than tasks may use. */
function cpusToPin(cpus: number): number[] {
  const allowed = allowedCpus();
  if (allowed.length >= cpus) return allowed;
  throw new RainError(
    "bad-request",
    `tasks cannot be pinned to ${cpus} cpus: this process may run on ${allowed.length}; offer fewer, or turn pinning off`,
  );
}

function checkExecutor(name: string, { command, concurrency = 1, idleS = 0 }: OwnExecutor): void {
  const bad = (what: string): RainError =>
    new RainError("bad-request", `executor ${JSON.stringify(name.slice(0, 200))}: ${what}`);
  if (!environmentLabel.safeParse(name).success)
    throw bad("a name has letters, digits, '_', '.', '-', 64 at most");
  if (command[0] === undefined || command[0] === "") throw bad("its command is empty");
  if (!Number.isInteger(concurrency) || concurrency < 1)
    throw bad(`a concurrency of ${concurrency}: it must be a whole number from 1`);
  if (!(idleS >= 0 && idleS <= MAX_IDLE_S))
    throw bad(`idleS ${idleS}: it must be seconds from 0 to ${MAX_IDLE_S}`);
}
const MAX_IDLE_S = 1_000_000;

type Registered = Extract<ServerToGovernor, { readonly type: "registered" }>;

/** What a governor has beside its options. */
interface Self {
  readonly identity: string;
  readonly certificate: Certificate | undefined;
  /** By which others reach its data port. */
  readonly host: string;
  /** Of its data port. */
  readonly audit: AuditLog;
}

/** The shell around the core: the link, the executor and transfers in, effects out. */
class Shell implements Governor {
  readonly exited: Promise<{ readonly code: number; readonly reason: string }>;
  readonly #options: GovernorOptions;
  readonly #self: Self;
  readonly #store: BlobStore;
  readonly #trees: Trees;
  /** What each run has of the store, by attempt. */
  readonly #runStores = new Map<string, RunStore>();
  readonly #executor: Runner;
  readonly #acquirer: Acquirer;
  readonly #port: DataPort;
  readonly #uplink: Uplink;
  readonly #unlock: () => Promise<void>;
  readonly #clock = new SteadyClock();
  readonly #loopDelay: IntervalHistogram = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS });
  readonly #registered: Promise<GovernorId>;
  #resolveRegistered: (governor: GovernorId) => void = () => undefined;
  #rejectRegistered: (error: unknown) => void = () => undefined;
  #resolveExited: (end: { readonly code: number; readonly reason: string }) => void = () => undefined;
  #core: GovernorCore | undefined;
  readonly #outbox = new Outbox();
  #isSaying = false;
  readonly #inputs: GovernorInput[] = [];
  #isHandling = false;
  #timer: NodeJS.Timeout | undefined;
  #isEnding = false;

  constructor(
    options: GovernorOptions,
    self: Self,
    store: BlobStore,
    trees: Trees,
    unlock: () => Promise<void>,
  ) {
    const { serverUrl, key, clusterId, log, tunnelTo } = options;
    const pin = pinOf(options.certPem, options.accessFile);
    this.#options = options;
    this.#self = self;
    this.#unlock = unlock;
    this.exited = new Promise((resolve) => (this.#resolveExited = resolve));
    this.#registered = new Promise((resolve, reject) => {
      this.#resolveRegistered = resolve;
      this.#rejectRegistered = reject;
    });
    this.#registered.catch(() => undefined); // `exited` tells it too: nobody has to ask for this one
    this.#store = store;
    this.#trees = trees;
    this.#executor = this.#makeRunner();
    this.#acquirer = new Acquirer({
      store,
      serverUrl,
      serverPin: pin,
      ...(tunnelTo === undefined ? {} : { serverHost: tunnelTo }),
      ...(options.transfers === undefined ? {} : { concurrency: options.transfers }),
    });
    this.#port = new DataPort({
      store,
      logFile: (session, task, stream) => this.#executor.logFile(session, task, stream),
      certificate: self.certificate,
      log,
      audit: (entry) => self.audit.write(entry),
    });
    this.#uplink = new Uplink({
      url: serverUrl,
      hostHeader: tunnelTo,
      pin,
      key: typeof key === "string" ? () => Promise.resolve(key) : key,
      clusterId,
      onUp: () => this.#input({ type: "link.up" }),
      onDown: () => {
        this.#outbox.clear();
        this.#input({ type: "link.down" });
      },
      onMessage: (message) => {
        if (message.type === "registered") this.#noteRegistration(message);
        this.#input({ type: "message", message });
      },
      onRefused: ({ session, task, attempt }, why) =>
        this.#input({ type: "report.refused", ref: { session, task, attempt }, why }),
      onHopeless: (error) => this.#hopeless(error),
      log,
    });
  }

  #makeRunner(): Runner {
    const options = this.#options;
    const onEnded = (ref: AttemptRef, outcome: RunOutcome): void => this.#runEnded(ref, outcome);
    if (options.zero === true) {
      const pin = (sha256: Digest): void => this.#store.pin(sha256);
      return new ZeroExecutor({ put: (bytes) => this.#store.putBytes(bytes, pin), onEnded });
    }
    const { workdir, env, capacity, log } = options;
    return new Executor({
      workdir: join(workdir, "executor"),
      store: this.#store,
      trees: this.#trees,
      ...(env === undefined ? {} : { baseEnv: env }),
      gpus: capacity.gpus,
      environments: new Map(Object.entries(options.environments ?? {})),
      executors: new Map(Object.entries(options.executors ?? {})),
      ...(options.captureBytes === undefined ? {} : { captureBytes: options.captureBytes }),
      ...(options.memoryLimit === undefined ? {} : { memoryLimit: options.memoryLimit }),
      ...(options.taskProcesses === undefined ? {} : { taskProcesses: options.taskProcesses }),
      onStarted: (ref, at) => this.#input({ type: "run.started", ref, at }),
      onOver: (ref) => this.#input({ type: "run.over", ref }),
      onEnded,
      onMetrics: (ref, news) => this.#input({ type: "run.metrics", ref, news }),
      log,
    });
  }

  async start(listenHost: string): Promise<void> {
    const { name = hostname(), labels = {}, capacity, killGraceMs = timing.killGraceMs } = this.#options;
    const { environments = {}, executors = {}, costPerHour, pinCpus, dataPort, tunnelTo } = this.#options;
    const cpuIds = pinCpus === true ? cpusToPin(capacity.cpus) : undefined;
    await this.#executor.start();
    const held = this.#executor.limits;
    const { identity, certificate, host } = this.#self;
    const port = await this.#port.listen(listenHost, dataPort);
    const scheme = certificate === undefined ? "http" : "https";
    const dataUrl = this.#options.dataUrl ?? `${scheme}://${urlHost(host)}:${port}`;
    const incarnation = nanoid();
    const hello: GovernorHello = {
      identity,
      incarnation,
      name,
      dataUrl,
      ...(certificate === undefined ? {} : { fingerprint: certificate.fingerprint }),
      capacity,
      labels,
      environments: Object.keys(environments),
      executors: Object.keys(executors),
      memoryLimit: held.memory,
      processLimit: held.processes,
      ahead: true,
      knows: laterMessages,
      batch: true,
      ...(costPerHour === undefined ? {} : { costPerHour }),
      ...(tunnelTo === undefined ? {} : { relay: true }),
    };
    const { onLost } = this.#options;
    this.#core = new GovernorCore({ hello, killGraceMs, onLost, cpuIds });
    this.#loopDelay.enable();
    this.#uplink.start();
  }

  registered(): Promise<GovernorId> {
    return this.#registered;
  }

  async stop(): Promise<void> {
    this.#input({ type: "stop" });
    await this.exited;
  }

  /** Ends every part; the folder is somebody else's then. */
  async dispose(): Promise<void> {
    clearTimeout(this.#timer);
    this.#loopDelay.disable();
    await this.#uplink.stop();
    await this.#executor.stop();
    await this.#trees.close();
    await this.#acquirer.stop();
    await this.#port.close();
    this.#self.audit.close();
    await this.#unlock();
  }

  // ------------------------------------------------------------------------------------------------- inputs

  /** Gives the core one input after the other; what it wants done is done before the next. */
  #input(input: GovernorInput): void {
    if (this.#isEnding) return;
    this.#inputs.push(input);
    if (this.#isHandling) return;
    this.#isHandling = true;
    try {
      for (let next = this.#inputs.shift(); next && !this.#isEnding; next = this.#inputs.shift())
        this.#step(next);
    } catch (error) {
      this.#fatal(error);
    } finally {
      this.#isHandling = false;
    }
  }

  #step(input: GovernorInput): void {
    if (!this.#core) throw new Error(`${input.type} before the core was there`);
    const { effects, wakeAt } = this.#core.handle(input, this.#clock.now());
    for (const effect of effects) this.#perform(effect);
    clearTimeout(this.#timer);
    if (wakeAt === undefined || this.#isEnding) return;
    // A timer may fire a little early; the core asks again then.
    const wait = Math.min(Math.max(1, Math.ceil(wakeAt - this.#clock.now())), LONGEST_TIMER_MS);
    this.#timer = setTimeout(() => this.#input({ type: "tick", loopDelayMs: this.#takeLoopDelay() }), wait);
  }

  #takeLoopDelay(): number {
    const worstMs = this.#loopDelay.max / 1e6;
    this.#loopDelay.reset();
    return Math.max(0, worstMs - DELAY_RESOLUTION_MS);
  }

  #noteRegistration({ governor, batch = false }: Registered): void {
    this.#outbox.batching = batch;
    this.#uplink.registered();
    this.#resolveRegistered(governor);
  }

  #runEnded(ref: AttemptRef, outcome: RunOutcome): void {
    this.#input({ type: "run.ended", ref, outcome: this.#keepOutputs(outcome) });
    const key = attemptKey(ref);
    const store = this.#runStores.get(key);
    this.#runStores.delete(key);
    if (store !== undefined) this.#background(store.end());
  }

  #run(effect: RunEffect): void {
    const store = new RunStore(this.#store);
    this.#runStores.set(attemptKey(effect.ref), store);
    this.#executor.run(effect, store);
  }

  /** Outputs of a run that ended well stay, even if the bytes were to be removed when they were another object's. */
  #keepOutputs(outcome: RunOutcome): RunOutcome {
    if (!outcome.ok) return outcome;
    const lost = outcome.outputs.filter(({ sha256 }) => !this.#store.keep(sha256));
    if (lost.length === 0) return outcome;
    const message = `outputs ${lost.map(({ object }) => object).join(", ")} are not in the store of their governor`;
    this.#options.log("error", message);
    return {
      ok: false,
      failure: { reason: "internal", message },
      info: outcome.info,
      metrics: outcome.metrics,
    };
  }

  // ------------------------------------------------------------------------------------------------- effects

  #perform(effect: GovernorEffect): void {
    switch (effect.type) {
      case "send":
        this.#send(effect.message);
        break;
      case "reconnect":
        this.#say();
        this.#uplink.reset(effect.reason);
        break;
      case "acquire":
        this.#background(this.#acquire(effect));
        break;
      case "run":
        this.#run(effect);
        break;
      case "terminate":
        this.#executor.terminate(effect.ref, effect.force);
        break;
      case "remove":
        this.#background(this.#store.remove(effect.sha256));
        break;
      case "forget":
        this.#executor.forget(effect.ref);
        break;
      case "tickets":
        this.#port.addKey(effect.epoch, effect.key);
        break;
      case "exit":
        this.#end(effect.refused ? EXIT_REFUSED : 0, effect.reason);
        break;
      case "log":
        this.#options.log(effect.level, effect.text);
        break;
    }
  }

  #send(message: GovernorMessage): void {
    this.#outbox.add(message);
    if (!this.#isSaying) {
      this.#isSaying = true;
      setImmediate(() => {
        this.#isSaying = false;
        this.#say();
      });
    }
    if (message.type !== "heartbeat") return;
    this.#say();
    const since = this.#clock.now();
    this.#uplink.probe(() => this.#input({ type: "server.heard", since }));
  }

  /** What waits to be said is said. */
  #say(): void {
    for (const message of this.#outbox.take()) this.#uplink.send(message);
  }

  async #acquire(effect: AcquireEffect): Promise<void> {
    const { sha256 } = effect;
    try {
      await this.#acquirer.acquire(effect);
    } catch (error) {
      // A problem of the sources, or of this machine's disk; anything else is a bug.
      if (!(error instanceof RainError) && errorCode(error) === undefined) throw error;
      const why = error instanceof Error ? error.message : String(error);
      const tried = effect.sources.map(({ url }) => url);
      this.#input({ type: "acquire.failed", sha256, why, tried });
      return;
    }
    this.#input({ type: "acquired", sha256 });
  }

  #background(work: Promise<void>): void {
    work.catch((error: unknown) => this.#fatal(error));
  }

  // ------------------------------------------------------------------------------------------------- the end

  #hopeless(error: unknown): void {
    if (!(error instanceof RainError)) return this.#fatal(error);
    this.#rejectRegistered(error);
    this.#end(error.code === "version-mismatch" ? EXIT_VERSION : EXIT_NOT_ALLOWED, error.message);
  }

  #fatal(error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#options.log("error", `this is a bug, the governor ends: ${text}`);
    this.#end(EXIT_BUG, error instanceof Error ? error.message : String(error));
  }

  #end(code: number, reason: string): void {
    if (this.#isEnding) return;
    this.#isEnding = true;
    this.#say();
    this.#rejectRegistered(
      new RainError("connection", `the governor ended before it was registered: ${reason}`),
    );
    this.dispose().then(
      () => this.#resolveExited({ code, reason }),
      (error: unknown) => {
        this.#options.log("error", `while ending: ${String(error)}`);
        this.#resolveExited({ code: EXIT_BUG, reason: `${reason}; then, while ending: ${String(error)}` });
      },
    );
  }
}
