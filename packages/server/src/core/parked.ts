import { RainError } from "@rain/protocol";
import type { Kernel } from "./kernel.ts";
import type { NextWaiter, Waiter } from "./live.ts";
import type { DataObject, Session } from "./state.ts";
import type { ConnectionId } from "./types.ts";

/** Requests that wait for their answer: `next` for a task that settles, `fetch` for an object that is finished. */
export class Parked {
  readonly #k: Kernel;
  /** Set by the request handlers: how a `next` request is answered. */
  onNext: ((session: Session, waiter: NextWaiter) => void) | undefined;
  /** Set by the request handlers: answers a `fetch`, or false when it has to wait. */
  onFetch: ((object: DataObject, waiter: Waiter) => boolean) | undefined;

  constructor(k: Kernel) {
    this.#k = k;
  }

  /** Answers parked `next` requests of a session that have something to read. */
  serveNext(session: Session): void {
    const live = this.#k.live.sessions.get(session);
    if (!live || live.next.length === 0) return;
    const parked = live.next.splice(0);
    for (const waiter of parked) {
      if (session.failure || waiter.from < session.settled.length) {
        this.onNext?.(session, waiter);
      } else live.next.push(waiter);
    }
  }

  serveFetches(object: DataObject): void {
    const parked = this.#k.live.fetches.get(object);
    if (!parked) return;
    this.#k.live.fetches.delete(object);
    for (const waiter of parked) {
      if (this.onFetch?.(object, waiter) === false) this.parkFetch(object, waiter);
    }
  }
  parkFetch(object: DataObject, waiter: Waiter): void {
    const parked = this.#k.live.fetches.get(object);
    if (parked) parked.push(waiter);
    else this.#k.live.fetches.set(object, [waiter]);
  }

  /** Forgets a connection everywhere. */
  forgetClient(connection: ConnectionId): void {
    for (const session of this.#k.live.sessions.values()) {
      if (session.connections.delete(connection) && session.connections.size === 0) {
        session.orphanSince = this.#k.now;
      }
      const keep = session.next.filter((waiter) => waiter.connection !== connection);
      session.next.splice(0, session.next.length, ...keep);
    }
    for (const [object, waiters] of this.#k.live.fetches) {
      const keep = waiters.filter((waiter) => waiter.connection !== connection);
      if (keep.length > 0) this.#k.live.fetches.set(object, keep);
      else this.#k.live.fetches.delete(object);
    }
  }

  /** Nothing of this session is waited for any more. */
  closeSession(session: Session): void {
    const gone = new RainError("session-closed", `session ${session.id} (${session.name}) was closed`);
    for (const waiter of this.#k.live.sessions.get(session)?.next ?? []) this.#k.error(waiter, gone);
    for (const [object, waiters] of this.#k.live.fetches) {
      if (object.session !== session) continue;
      for (const waiter of waiters) this.#k.error(waiter, gone);
      this.#k.live.fetches.delete(object);
    }
  }
}
