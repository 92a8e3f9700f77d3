import type { Digest } from "@rain/protocol";
import {
  type DurableState,
  ServerCore,
  type ServerConfig,
  type ServerInput,
  type ServerStep,
} from "@rain/server/core";
import type { Disk } from "../disk.ts";
import type { GovernorNode } from "../governor-node.ts";
import type { World } from "../world.ts";
import { checkJournal } from "./journal.ts";
import { checkLive } from "./live.ts";
import { RecordWatch } from "./records.ts";
import { checkRuns } from "./runs.ts";

/** The production core, with somebody who looks at every step. */
export class WatchedCore extends ServerCore {
  readonly #watch: Watch;
  /** Only for planted bugs: what happens before an input is handled. */
  before: ((input: ServerInput) => void) | undefined;

  constructor(config: ServerConfig, durable: DurableState, now: number, watch: Watch) {
    super(config, durable, now);
    this.#watch = watch;
  }
  override handle(input: ServerInput, now: number): ServerStep {
    this.before?.(input);
    const step = super.handle(input, now);
    this.#watch.stepped(input, step, now);
    return step;
  }
}

/** How often the journal is read back and compared, in steps of the server. */
const REPLAY_EVERY = 300;

/** Checks everything that must hold, at every step of the server and at what its governors do. */
export class Watch {
  readonly #world: World;
  readonly #governors: ReadonlyMap<string, GovernorNode>;
  readonly records: RecordWatch;
  #core: WatchedCore | undefined;
  #disk: Disk | undefined;
  #clock: { readonly now: number } | undefined;
  /** Records of earlier processes on the disk, and committed by this one. */
  #base = 0;
  #committed = 0;
  #promised = 0;
  #steps = 0;

  constructor(world: World, governors: ReadonlyMap<string, GovernorNode>) {
    this.#world = world;
    this.#governors = governors;
    this.records = new RecordWatch(world, governors);
  }

  serverStarted(core: WatchedCore, disk: Disk, clock: { readonly now: number }): void {
    this.#core = core;
    this.#disk = disk;
    this.#clock = clock;
    this.#base = disk.written;
    this.#committed = 0;
    this.#promised = 0;
    this.records.restarted(core);
    checkJournal(this.#world, disk, core.durable);
    checkLive(this.#world, core.kernel);
    checkRuns(this.#world, core.kernel, undefined);
  }
  serverEnded(): void {
    this.#core = undefined;
  }
  heard(governor: string): void {
    if (this.#clock) this.records.heard(governor, this.#clock.now);
  }

  stepped(input: ServerInput, step: ServerStep, now: number): void {
    const core = this.#core;
    if (!core) return;
    this.#steps++;
    this.records.check(core, input, step, now);
    for (const effect of step.effects) if (effect.type === "blob.remove") this.#removingBlob(effect.sha256);
    this.#checkStops(core, step);
    checkLive(this.#world, core.kernel);
    checkRuns(this.#world, core.kernel, step);
  }

  /** A drained governor is told to stop when every object that it has and that is needed is elsewhere too. */
  #checkStops({ kernel: k }: WatchedCore, step: ServerStep): void {
    for (const effect of step.effects) {
      if (effect.type !== "send" || effect.message.type !== "stop") continue;
      const governor = k.live.byConnection.get(effect.connection);
      if (!governor || k.durable.governors.get(governor.id)?.draining !== true) continue;
      this.#world.drained++;
      for (const object of governor.replicas) {
        const { state } = object;
        if (state.kind !== "finished" || state.data || object.producer === undefined) continue;
        if (!object.keep && object.openConsumers === 0) continue;
        const others = [...(k.live.replicas.get(object) ?? [])].filter(
          (each) => each !== governor && each.connection !== undefined && !each.leaving,
        );
        this.#world.check(
          others.length > 0,
          "drained-loses",
          () => `governor ${governor.id} is told to stop and alone has ${object.session.id}/o${object.id}`,
        );
      }
    }
  }

  /** The records of a step go to the journal. Answers what must be on disk before its effects are seen. */
  committed(count: number, isPromise: boolean): Ordinal {
    this.#committed += count;
    if (isPromise) this.#promised = this.#committed;
    return { written: this.#base + this.#committed, synced: this.#base + this.#promised };
  }
  releasing(ordinal: Ordinal): void {
    const disk = this.#disk;
    if (!disk) return;
    this.#world.check(
      disk.written >= ordinal.written && (disk.synced >= ordinal.synced || ordinal.synced <= this.#base),
      "durable-before-visible",
      () =>
        `effects leave with ${disk.written} records written and ${disk.synced} synced; needed: ${ordinal.written}, ${ordinal.synced}`,
    );
  }

  /** The journal, read back, is the live state. Looked at when nothing is on its way to the disk. */
  afterEvent(): void {
    const core = this.#core;
    const disk = this.#disk;
    if (!core || !disk || this.#steps < REPLAY_EVERY) return;
    if (disk.written < this.#base + this.#committed) return;
    this.#steps = 0;
    checkJournal(this.#world, disk, core.durable);
  }

  /** A governor deletes bytes: fine unless the server counts on them. */
  removing(governor: string, sha256: Digest): void {
    const core = this.#core;
    if (!core) return;
    for (const [object, holders] of core.kernel.live.replicas) {
      if (object.state.kind !== "finished" || object.state.sha256 !== sha256 || object.state.data) continue;
      if (!object.keep && object.openConsumers === 0) continue;
      const holder = [...holders].find((each) => each.hello?.name === governor);
      const node = this.#governors.get(governor)?.process;
      // A program that ran again made other bytes in its place: the server learns of it with the report.
      if (node?.hasOther({ session: object.session.id, object: object.id, sha256 }) === true) continue;
      if (!holder || holder.connection === undefined || holder.incarnation !== node?.incarnation) continue;
      this.#world.violate(
        "kept-removed",
        `${governor} deletes ${object.session.id}/o${object.id}, which is needed and known to be there`,
      );
    }
  }
  /** Looked at when it is decided: until it is done, a submit may name the same bytes again, freshly uploaded. */
  #removingBlob(sha256: Digest): void {
    const stored = this.#core?.durable.datastores.all() ?? [];
    this.#world.check(
      !stored.some((each) => each.sha256 === sha256),
      "kept-removed",
      () => `the server deletes the bytes of a datastore`,
    );
    for (const session of this.#core?.durable.sessions.values() ?? []) {
      for (const object of session.objects.expandedOnes()) {
        const { state } = object;
        if (object.producer !== undefined || state.kind !== "finished" || state.data) continue;
        this.#world.check(
          state.sha256 !== sha256,
          "kept-removed",
          () => `the server deletes the bytes of constant ${session.id}/o${object.id}`,
        );
      }
    }
  }
}
export interface Ordinal {
  readonly written: number;
  readonly synced: number;
}
