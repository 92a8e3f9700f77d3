import { hostname } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay, type IntervalHistogram } from "node:perf_hooks";
import {
  laterMessages,
  RainError,
  timing,
  type Digest,
  type GovernorHello,
  type GovernorId,
  type GovernorMessage,
  type ServerToGovernor,
} from "@rain/protocol";
import type { AuditLog } from "@rain/protocol/audit";
import { pinOf, urlHost, type Certificate } from "@rain/protocol/tls";
import { nanoid } from "nanoid";
import { allowedCpus } from "./capacity.ts";
import { GovernorCore, type GovernorEffect, type GovernorInput, type RunOutcome } from "./core/index.ts";
import { attemptKey } from "./core/types.ts";
import { Executor, ZeroExecutor, type EndedRun, type RunEffect, type Runner } from "./executor/index.ts";
import { SteadyClock } from "./clock.ts";
import { errorCode } from "./monitor/errno.ts";
import { Mouth } from "./mouth.ts";
import { RunStore, type BlobStore, type Trees } from "./store/index.ts";
import { Acquirer, DataPort, type AcquireEffect } from "./transfer/index.ts";
import type { Governor, GovernorOptions } from "./options.ts";
import { Uplink } from "./uplink.ts";

const EXIT_REFUSED = 1;
const EXIT_BUG = 70;
const EXIT_VERSION = 76;
const EXIT_NOT_ALLOWED = 77;
/** The longest time that a timer of Node can wait. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const DELAY_RESOLUTION_MS = 20;

/** The cpus that tasks are pinned to. Throws RainError "bad-request" when there are fewer than tasks may use. */
function cpusToPin(cpus: number): number[] {
  const allowed = allowedCpus();
  if (allowed.length >= cpus) return allowed;
  throw new RainError(
    "bad-request",
    `tasks cannot be pinned to ${cpus} cpus: this process may run on ${allowed.length}; offer fewer, or turn pinning off`,
  );
}

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
export class Shell implements Governor {
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
  readonly #mouth = new Mouth((messages) => {
    for (const message of messages) this.#uplink.send(message);
    this.#uplink.flush();
  });
  readonly #inputs: (readonly GovernorInput[])[] = [];
  #isHandling = false;
  #timer: NodeJS.Timeout | undefined;
  /** When it ends, and when the core wants to be woken. */
  #timerAt = 0;
  #wakeAt: number | undefined;
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
        this.#mouth.clear();
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
    if (options.zero === true) {
      const pin = (sha256: Digest): void => this.#store.pin(sha256);
      return new ZeroExecutor({
        put: (bytes) => this.#store.putBytes(bytes, pin),
        onEnded: (runs) => this.#runsEnded(runs),
      });
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
      onEnded: (ref, outcome) => this.#runsEnded([{ ref, outcome }]),
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
    this.#mouth.clear();
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
    this.#inputAll([input]);
  }

  /** The same for what came at once. */
  #inputAll(inputs: readonly GovernorInput[]): void {
    if (this.#isEnding) return;
    this.#inputs.push(inputs);
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

  #step(inputs: readonly GovernorInput[]): void {
    if (!this.#core) throw new Error(`${inputs[0]?.type} before the core was there`);
    const { effects, wakeAt, hasMore } = this.#core.handleAll(inputs, this.#clock.now());
    for (const effect of effects) this.#perform(effect);
    this.#mouth.saySoon(hasMore);
    this.#wakeAt = wakeAt;
    this.#setTimer();
  }

  /** There is another time with every input: a timer that ends before it stays, and is set again then. */
  #setTimer(): void {
    const at = this.#wakeAt;
    if (at === undefined || this.#isEnding) return;
    if (this.#timer !== undefined && this.#timerAt <= at) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    // A timer may fire a little early; the core asks again then.
    const wait = Math.min(Math.max(1, Math.ceil(at - this.#clock.now())), LONGEST_TIMER_MS);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#wakeAt === undefined || this.#wakeAt > this.#clock.now() + 1) return this.#setTimer();
      this.#input({ type: "tick", loopDelayMs: this.#takeLoopDelay() });
    }, wait);
  }

  #takeLoopDelay(): number {
    const worstMs = this.#loopDelay.max / 1e6;
    this.#loopDelay.reset();
    return Math.max(0, worstMs - DELAY_RESOLUTION_MS);
  }

  #noteRegistration({ governor, batch = false }: Registered): void {
    this.#mouth.batching = batch;
    this.#uplink.registered();
    this.#resolveRegistered(governor);
  }

  #runsEnded(runs: readonly EndedRun[]): void {
    this.#inputAll(
      runs.map(({ ref, outcome }) => ({ type: "run.ended", ref, outcome: this.#keepOutputs(outcome) })),
    );
    if (this.#runStores.size === 0) return;
    for (const { ref } of runs) {
      const key = attemptKey(ref);
      const store = this.#runStores.get(key);
      this.#runStores.delete(key);
      if (store !== undefined) this.#background(store.end());
    }
  }

  #run(effect: RunEffect): void {
    this.#executor.run(effect, () => {
      const store = new RunStore(this.#store);
      this.#runStores.set(attemptKey(effect.ref), store);
      return store;
    });
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
        this.#mouth.sayNow();
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
    this.#mouth.add(message);
    if (message.type !== "heartbeat") return;
    this.#mouth.sayNow();
    const since = this.#clock.now();
    this.#uplink.probe(() => this.#input({ type: "server.heard", since }));
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
    this.#mouth.sayNow();
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
