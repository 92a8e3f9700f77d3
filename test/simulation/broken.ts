import type { AttemptRef, GovernorMessage } from "@rain/protocol";
import { DurableState, type ServerRecord } from "@rain/server/core";
import type { RecordSink } from "../../packages/server/src/driver.ts";
import { cacheKey } from "../../packages/server/src/core/cache-key.ts";
import { plus } from "../../packages/server/src/core/resources.ts";
import type { LiveGovernor } from "../../packages/server/src/core/live.ts";
import type { Bugs } from "./bugs.ts";
import type { WatchedCore } from "./watch/watch.ts";

/** Deliberately broken versions of production parts. Each is switched on by one test, to prove that it is noticed. */

/** A journal that releases at once, or that never writes assignments. */
export class BrokenSink implements RecordSink {
  readonly #sink: RecordSink;
  readonly #bugs: Bugs;
  constructor(sink: RecordSink, bugs: Bugs) {
    this.#sink = sink;
    this.#bugs = bugs;
  }
  commit(records: readonly ServerRecord[], release: () => void): void {
    const written = this.#bugs.forgetHints ? records.filter(({ type }) => type !== "assigned") : records;
    if (!this.#bugs.acknowledgeBeforeSync) return this.#sink.commit(written, release);
    this.#sink.commit(written, () => undefined);
    release();
  }
}

/** A state whose snapshots lose something. */
export class ForgetfulState extends DurableState {
  override *dump(): Iterable<unknown> {
    for (const item of super.dump()) {
      if ((item as { type: string }).type !== "settled") yield item;
    }
  }
}

export function breakCore(core: WatchedCore, bugs: Bugs): void {
  const k = core.kernel;
  if (bugs.freeTwice) {
    const free = k.free.bind(k);
    k.free = (governor: LiveGovernor, ref: AttemptRef): void => {
      const held = [...governor.attempts.values()].find(
        (each) => each.session === ref.session && each.task === ref.task && each.attempt === ref.attempt,
      );
      free(governor, ref);
      if (held) governor.free = plus(governor.free, held.request);
    };
  }
  if (bugs.forgetRoom) {
    const [free, touch] = [k.free.bind(k), k.places.touch.bind(k.places)];
    k.free = (governor: LiveGovernor, ref: AttemptRef): void => {
      k.places.touch = () => undefined;
      free(governor, ref);
      k.places.touch = touch;
    };
  }
  if (bugs.acceptOldAttempt) {
    core.before = (input) => {
      if (input.type === "governor.message" && input.message.type === "finish")
        acceptAnything(core, input.message, input.connection);
    };
  }
  if (bugs.forgetSubmitKey) {
    core.before = (input) => {
      if (input.type !== "client.request" || input.request.type !== "submit") return;
      k.durable.sessions.get(input.request.session)?.submitKeys.delete(input.request.key);
    };
  }
  if (bugs.waitingCrashes) {
    core.before = () => {
      for (const governor of k.live.governors.values())
        for (const held of governor.attempts.values()) held.started = true;
    };
  }
  if (bugs.leaseNeverEnds) {
    core.before = () => {
      for (const governor of k.live.governors.values()) governor.lastHeard = k.now;
    };
  }
  if (bugs.dropKept) {
    core.before = () => {
      for (const session of k.durable.sessions.values()) {
        for (const object of session.objects.expandedOnes()) {
          if (object.keep && object.state.kind === "finished" && object.openConsumers === 0) {
            for (const holder of k.live.replicas.get(object) ?? []) {
              k.copies.drop(holder, { session: session.id, object: object.id });
            }
          }
        }
      }
    };
  }
  if (bugs.cacheIgnoresInputs) {
    k.cacheUse.find = (task) => {
      const [key, { cache }] = [cacheKey(task), k.durable];
      const known = [...cache.entries()];
      return key === undefined
        ? undefined
        : known.find((entry) => exceptInputs(entry.key) === exceptInputs(key));
    };
  }
  if (bugs.arrayGivesTwice) {
    core.before = () => {
      for (const { session } of k.live.arrays.keys()) {
        for (const live of k.live.tasks.values()) {
          if (live.task.session === session && live.task.array && live.phase.kind === "assigned")
            Object.assign(live, { inArray: true, phase: { kind: "ready", since: k.now } });
        }
      }
    };
  }
  if (bugs.foldLosesOutputs) {
    const { hooks } = k.durable.folding;
    if (hooks)
      k.durable.folding.hooks = {
        ...hooks,
        folding: (task) => {
          hooks.folding(task);
          for (const { object: id } of task.spec.outputs) {
            const object = task.session.objects.there(id);
            if (object?.state.kind === "finished") object.state = { kind: "removed" };
          }
        },
      };
  }
  if (bugs.sweepUncounted) {
    for (const session of k.durable.sessions.values()) k.openSession(session);
    const open = k.openSession.bind(k);
    k.openSession = (session) => {
      const live = open(session);
      Object.assign(live.rows, { showMany: () => undefined });
      return live;
    };
  }
  if (bugs.drainAtOnce) {
    core.before = (input) => {
      if (input.type !== "tick") return;
      for (const governor of k.live.governors.values()) {
        const isDraining = k.durable.governors.get(governor.id)?.draining === true;
        if (!isDraining || governor.leaving || !governor.synced || governor.attempts.size > 0) continue;
        governor.leaving = true;
        k.send(governor, { type: "stop" });
      }
    };
  }
  if (bugs.metricsTwice) {
    core.before = (input) => {
      if (input.type !== "governor.message" || input.message.type !== "metrics") return;
      const { session, task: id, attempt, from, points } = input.message;
      const task = k.durable.sessions.get(session)?.tasks.get(id);
      if (task?.state.kind !== "open" || task.state.governor === undefined) return;
      if (task.state.attempt === attempt)
        k.commit({ type: "metrics", session, task: id, attempt, from, points });
    };
  }
  if (bugs.ignoreParallelism) {
    core.before = () => {
      for (const session of k.live.sessions.values()) Object.assign(session, { parallelism: undefined });
    };
  }
  if (bugs.forgetDatastoreKey) {
    core.before = (input) => {
      if (input.type === "client.request" && input.request.type === "datastore.create")
        k.durable.datastores.byKey.delete(input.request.key);
    };
  }
  if (bugs.forgetGovernorsAtRestart) {
    for (const governor of [...k.live.governors.values()]) governor.lastHeard = -Infinity;
  }
}

/** A key of the cache without its last part. */
const exceptInputs = (key: string): string => JSON.stringify((JSON.parse(key) as unknown[]).slice(0, -1));

/** Commits a finish of any attempt of an open task, whoever sends it. */
function acceptAnything(
  core: WatchedCore,
  message: Extract<GovernorMessage, { type: "finish" }>,
  connection: number,
): void {
  const k = core.kernel;
  const governor = k.live.byConnection.get(connection);
  const task = k.durable.sessions.get(message.session)?.tasks.get(message.task);
  if (!governor || task?.state.kind !== "open") return;
  if (task.state.attempt === message.attempt && task.state.governor === governor.id) return;
  const { session, task: id, attempt, outputs, info } = message;
  k.commit({ type: "finished", session, task: id, attempt, governor: governor.id, outputs, info });
}
