import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import {
  asObjectId,
  asSessionId,
  asTaskId,
  type AttemptRef,
  type Capture,
  type InputSpec,
  type OutputSpec,
  type TaskFailure,
  type Work,
} from "@rain/protocol";
import type { Allocation, RunMetrics } from "../../packages/governor/src/core/types.ts";
import { Executor } from "../../packages/governor/src/executor/index.ts";
import type { ExecutorOptions, RunEffect, RunOutcome } from "../../packages/governor/src/executor/types.ts";
import { BlobStore, RunStore } from "../../packages/governor/src/store/index.ts";

interface Input {
  readonly bytes: string | Buffer;
  readonly path?: string;
  readonly write?: boolean;
  readonly shared?: boolean;
  readonly kind?: "blob" | "directory";
  readonly label?: string;
}
interface Output {
  readonly path?: string;
  readonly capture?: Capture;
  readonly kind?: "blob" | "directory";
}
export interface Request {
  readonly work: Work;
  readonly inputs?: readonly Input[];
  readonly outputs?: readonly Output[];
  readonly allocation?: Partial<Allocation>;
  readonly metrics?: boolean;
  /** Bytes that the task asks for. */
  readonly memory?: number;
}

/** An executor in a temporary folder, and what it reported. */
export class Kit {
  readonly root: string;
  readonly store: BlobStore;
  readonly #runStores = new Map<string, RunStore>();
  readonly executor: Executor;
  readonly started: AttemptRef[] = [];
  readonly ended: { readonly ref: AttemptRef; readonly outcome: RunOutcome }[] = [];
  /** Metrics that came before the end of their run. */
  readonly news: (RunMetrics & { readonly ref: AttemptRef })[] = [];
  readonly logged: string[] = [];
  readonly #waiting = new Map<string, (outcome: RunOutcome) => void>();
  #next = 0;

  private constructor(root: string, store: BlobStore, options: Partial<ExecutorOptions>) {
    this.root = root;
    this.store = store;
    this.executor = new Executor({
      workdir: this.workdir,
      store,
      onStarted: (ref) => this.started.push(ref),
      onEnded: (ref, outcome) => {
        this.ended.push({ ref, outcome });
        this.#runStores
          .get(keyOf(ref))
          ?.end()
          .catch((error: unknown) => this.logged.push(`end of run: ${String(error)}`));
        this.#waiting.get(keyOf(ref))?.(outcome);
      },
      onMetrics: (ref, news) => this.news.push({ ref, ...news }),
      log: (level, text) => this.logged.push(`${level}: ${text}`),
      ...options,
    });
  }

  static async start(options: Partial<ExecutorOptions> = {}): Promise<Kit> {
    const root = await mkdtemp(join(tmpdir(), "rain-executor-"));
    const kit = new Kit(root, await BlobStore.open(join(root, "work")), options);
    await kit.executor.start();
    return kit;
  }

  get workdir(): string {
    return join(this.root, "work");
  }
  /** Names of the task folders that exist now. */
  get taskFolders(): string[] {
    return readdirSync(join(this.workdir, "tasks")).filter((name) => !name.startsWith("launcher-"));
  }
  /** Value of this executor's cookies, up to the attempt. */
  get cookie(): string {
    return `RAIN_TASK=${readFileSync(join(this.workdir, "instance"), "utf8").trim()}:`;
  }

  async stop(): Promise<void> {
    await this.executor.stop();
    await rm(this.root, { recursive: true, force: true });
  }

  async effect(request: Request): Promise<RunEffect> {
    this.#next += 1;
    const task = asTaskId(this.#next);
    const specs: InputSpec[] = [];
    const ready: RunEffect["inputs"][number][] = [];
    for (const [index, { bytes, kind = "blob", ...spec }] of (request.inputs ?? []).entries()) {
      const stored = await this.store.putBytes(Buffer.from(bytes));
      specs.push({ object: asObjectId(index), ...spec });
      ready.push({ object: asObjectId(index), kind, contentType: "", ...stored });
    }
    const outputs = (request.outputs ?? []).map((output, index): OutputSpec => ({
      object: asObjectId(100 + index),
      label: `out${index}`,
      kind: "blob",
      contentType: "text",
      keep: false,
      ...output,
    }));
    const cpus = { cpus: 1, gpus: 0, memory: request.memory ?? 0, named: {} };
    return {
      type: "run",
      ref: { session: asSessionId(1), task, attempt: 1 },
      spec: { id: task, work: request.work, inputs: specs, outputs, request: cpus, metrics: request.metrics },
      inputs: ready,
      allocation: { cpus: 1, gpus: [], memory: 0, ...request.allocation },
    };
  }

  /** Begins a run and answers its outcome. */
  begin(effect: RunEffect): Promise<RunOutcome> {
    return new Promise((resolve) => {
      this.#waiting.set(keyOf(effect.ref), resolve);
      const store = new RunStore(this.store);
      this.#runStores.set(keyOf(effect.ref), store);
      this.executor.run(effect, () => store);
    });
  }

  async run(request: Request): Promise<RunOutcome> {
    return await this.begin(await this.effect(request));
  }
  /** Runs a line of shell. */
  async shell(line: string, request: Omit<Request, "work"> = {}): Promise<RunOutcome> {
    return await this.run({ ...request, work: { type: "execute", shell: true, args: [line] } });
  }
}

const keyOf = (ref: AttemptRef): string => `${ref.session}/${ref.task}/${ref.attempt}`;

export const execute = (...args: string[]): Work => ({ type: "execute", args });

/** Texts of the outputs that rode in the report. */
export function texts(outcome: RunOutcome): string[] {
  if (!outcome.ok) throw new Error(`the run failed: ${JSON.stringify(outcome.failure)}`);
  return outcome.outputs.map((output) => Buffer.from(output.data ?? "not inline").toString());
}
export function failure(outcome: RunOutcome): TaskFailure {
  if (outcome.ok) throw new Error("the run did not fail");
  return outcome.failure;
}

/** Waits until the condition holds; the limit is only there so that a broken test ends. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const end = Date.now() + 20_000;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`waited 20 s for: ${what}`);
    await delay(10);
  }
}

export function alive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
}

/** Living processes that have this text in their environment. */
export function withEnvironment(text: string): number[] {
  const found: number[] = [];
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || !alive(pid)) continue;
    try {
      if (readFileSync(`/proc/${pid}/environ`, "latin1").includes(text)) found.push(pid);
    } catch {
      continue; // it is gone, or not ours
    }
  }
  return found;
}
