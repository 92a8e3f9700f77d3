import type { AheadOrders } from "./ahead.ts";
import { demandKey, meets } from "./demand.ts";
import { takesTasks } from "./drain.ts";
import { Heap } from "./heap.ts";
import type { Kernel } from "./kernel.ts";
import type { LiveGovernor, ResourceClass } from "./live.ts";
import { classKey, fits, type Amounts } from "./resources.ts";

/**
 * Governors, found by what they have room for. Each change of a governor is noted in one list; an order of governors
 * reads what is new in it when it is asked. So a placement costs what has changed, and never a walk over all
 * governors, and what nobody asks for costs nothing.
 */
export class Places {
  /** Governors that may be given tasks. */
  readonly open: Set<LiveGovernor> = new Set();
  /** Connected ones that may not: drained, or about to exit. */
  readonly closed: Set<LiveGovernor> = new Set();
  /** Governors with work ahead. */
  readonly loaded: Set<LiveGovernor> = new Set();
  /** No attempt ahead that was not asked for again has less priority than this. */
  leastAhead: number = Infinity;
  readonly #k: Kernel;
  readonly #changes: Changes;
  readonly #rooms: Map<string, Room> = new Map();

  constructor(k: Kernel) {
    this.#k = k;
    this.#changes = new Changes(k.live.governors);
  }

  /** To be called after every change of what a governor has, holds, or may be given. */
  touch(governor: LiveGovernor): void {
    const k = this.#k;
    const isThere = k.live.governors.get(governor.id) === governor;
    const isOpen = isThere && takesTasks(k, governor);
    put(this.open, governor, isOpen);
    put(this.closed, governor, isThere && !isOpen && governor.connection !== undefined);
    const isLoaded = isThere && governor.ahead.size > 0;
    put(this.loaded, governor, isLoaded);
    if (isLoaded) this.leastAhead = Math.min(this.leastAhead, governor.leastAhead);
    this.#changes.note(governor);
  }

  /** Where tasks of this class have room. Classes that ask the same share one. */
  roomOf(of: ResourceClass): Room {
    if (of.room) return of.room;
    const key = classKey(of.request) + demandKey(of.demand);
    let room = this.#rooms.get(key);
    if (!room) {
      // Requests without end, each a little different: what is asked for again is made again.
      if (this.#rooms.size >= MOST_ROOMS) this.#rooms.clear();
      room = new Room(of, this.open, this.#changes);
      this.#rooms.set(key, room);
    }
    of.room = room;
    return room;
  }

  /** An order of its own over the open governors; `rankOf`: smaller is better, undefined: not in it. */
  order(rankOf: (governor: LiveGovernor) => number | undefined): Order {
    return new Order(this.#changes, (governor) => (this.open.has(governor) ? rankOf(governor) : undefined));
  }
}

const MOST_ROOMS = 10_000;

function put<T>(set: Set<T>, item: T, isIn: boolean): void {
  if (isIn) set.add(item);
  else set.delete(item);
}

/** The list of changes. What is older than some rounds over all governors is forgotten: who is so late looks at all. */
class Changes {
  #list: LiveGovernor[] = [];
  #first = 0;
  readonly #all: ReadonlyMap<unknown, LiveGovernor>;

  constructor(all: ReadonlyMap<unknown, LiveGovernor>) {
    this.#all = all;
  }

  note(governor: LiveGovernor): void {
    if (this.#list.length > 4 * this.#all.size + 1_000) {
      this.#first += this.#list.length;
      this.#list = [];
    }
    governor.change = this.#first + this.#list.length;
    this.#list.push(governor);
  }

  /** Calls `see` for the governors that changed since `from`, once each; undefined when that is too long ago. */
  since(from: number, see: (governor: LiveGovernor) => void): number | undefined {
    if (from < this.#first) return undefined;
    for (let at = from - this.#first; at < this.#list.length; at++) {
      const governor = this.#list[at];
      if (governor?.change === this.#first + at) see(governor);
    }
    return this.end;
  }

  get end(): number {
    return this.#first + this.#list.length;
  }
  get all(): ReadonlyMap<unknown, LiveGovernor> {
    return this.#all;
  }
}

interface Entry {
  readonly governor: LiveGovernor;
  readonly change: number;
  readonly rank: number;
}
const isBetter = (a: Entry, b: Entry): boolean =>
  a.rank !== b.rank ? a.rank < b.rank : a.governor.id < b.governor.id;

/** Governors from the best to the worst, by a rank that each has of itself alone. */
export class Order {
  readonly #changes: Changes;
  readonly #rankOf: (governor: LiveGovernor) => number | undefined;
  #heap: Heap<Entry> = new Heap(isBetter);
  /** -1: it has seen none yet. */
  #seen = -1;

  constructor(changes: Changes, rankOf: (governor: LiveGovernor) => number | undefined) {
    this.#changes = changes;
    this.#rankOf = rankOf;
  }

  /** The best one of which `isFree` holds; it looks at no more than `most` of them. */
  first(isFree?: (governor: LiveGovernor) => boolean, most: number = LOOKED_AT): LiveGovernor | undefined {
    this.read();
    const top = this.#top();
    if (!top || !isFree || isFree(top.governor)) return top?.governor;
    return this.some(most).find(isFree);
  }

  /** The best `count`, the best one first. */
  some(count: number): LiveGovernor[] {
    this.read();
    const taken: Entry[] = [];
    for (let top = this.#top(); top && taken.length < count; top = this.#top()) {
      taken.push(top);
      this.#heap.removeTop();
    }
    for (const entry of taken) this.#heap.push(entry);
    return taken.map(({ governor }) => governor);
  }

  /** An entry is out of date when its governor has changed since. */
  #top(): Entry | undefined {
    for (let { top } = this.#heap; top; top = this.#heap.top) {
      if (top.change === top.governor.change) return top;
      this.#heap.removeTop();
    }
    return undefined;
  }

  protected read(): void {
    const changes = this.#changes;
    if (this.#seen === changes.end) return;
    const seen = changes.since(this.#seen, (governor) => this.see(governor));
    this.#seen = changes.end;
    // Of so many entries most are out of date.
    if (seen === undefined || this.#heap.size > 4 * changes.all.size + 1_000) this.restart();
  }

  protected restart(): void {
    this.#heap = new Heap(isBetter);
    for (const governor of this.#changes.all.values()) this.see(governor);
  }

  protected see(governor: LiveGovernor): void {
    // What it has of this governor is out of date; where few governors change all the time, that is the top.
    if (this.#heap.top?.governor === governor) this.#heap.removeTop();
    const rank = this.#rankOf(governor);
    if (rank !== undefined) this.#heap.push({ governor, change: governor.change, rank });
  }
}

/** How far an order is followed for one that may be taken: those before it wait for a large task. */
const LOOKED_AT = 64;

/** Governors with room for a request, the one with the most free cpus first. */
export class Room extends Order {
  /** Open governors that could hold it if they were empty. */
  readonly #able: Set<LiveGovernor> = new Set();
  /** When a task last found room. */
  placedAt: number = -Infinity;
  /** Attempts that were asked for again and are not back yet. */
  retracted: number = 0;
  /** When attempts of less priority were last looked for, to ask for them again. */
  lookedAt: number = -Infinity;
  /** Some attempts were ahead. */
  hasWaited: boolean = false;
  waits: AheadOrders | undefined;
  readonly #request: Amounts;
  readonly #holds: (governor: LiveGovernor) => boolean;

  constructor(
    { request, demand }: Pick<ResourceClass, "request" | "demand">,
    open: ReadonlySet<LiveGovernor>,
    changes: Changes,
  ) {
    super(changes, (governor) =>
      this.#able.has(governor) && fits(request, governor.free) ? -governor.free.cpus : undefined,
    );
    this.#request = request;
    this.#holds = (governor) =>
      open.has(governor) && fits(request, governor.capacity) && meets(demand, governor.hello);
  }

  get able(): ReadonlySet<LiveGovernor> {
    this.read();
    return this.#able;
  }
  has(governor: LiveGovernor): boolean {
    return this.able.has(governor) && fits(this.#request, governor.free);
  }

  protected override restart(): void {
    this.#able.clear();
    super.restart();
  }

  protected override see(governor: LiveGovernor): void {
    put(this.#able, governor, this.#holds(governor));
    super.see(governor);
  }
}
