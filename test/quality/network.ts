/** One transfer under way. */
interface Flow {
  readonly from: number;
  readonly to: number;
  readonly done: () => void;
  left: number;
  rate: number;
}

/**
 * Transfers that share what each governor can send and receive, max-min fair: no transfer could be faster without
 * making slower one that is not faster than it.
 */
export class Network {
  readonly #flows: Set<Flow> = new Set();
  readonly #count: number;
  readonly #bandwidth: number;
  #isStale = false;

  /** `bandwidth`: bytes a second that each governor can send, and as many that it can receive. */
  constructor(governors: number, bandwidth: number) {
    this.#count = governors;
    this.#bandwidth = bandwidth;
  }

  start(from: number, to: number, size: number, done: () => void): void {
    this.#flows.add({ from, to, done, left: size, rate: 0 });
    this.#isStale = true;
  }

  /** Seconds until the next transfer ends, if nothing changes; Infinity when there is none. */
  get next(): number {
    this.#share();
    let next = Infinity;
    for (const { left, rate } of this.#flows) next = Math.min(next, left / rate);
    return next;
  }

  /** So much time passes; transfers that end tell it. */
  pass(seconds: number): void {
    const ended: Flow[] = [];
    for (const flow of this.#flows) {
      flow.left -= flow.rate * seconds;
      if (flow.left < 1e-3) ended.push(flow);
    }
    for (const flow of ended) this.#flows.delete(flow);
    if (ended.length > 0) this.#isStale = true;
    for (const { done } of ended) done();
  }

  /** Fills the narrowest port first, then the narrowest of what is left. */
  #share(): void {
    if (!this.#isStale) return;
    this.#isStale = false;
    const ports = 2 * this.#count;
    const room = new Float64Array(ports).fill(this.#bandwidth);
    const users: Set<Flow>[] = Array.from({ length: ports }, () => new Set());
    for (const flow of this.#flows) {
      users[flow.from]?.add(flow);
      users[this.#count + flow.to]?.add(flow);
    }
    for (let left = this.#flows.size; left > 0;) {
      let narrowest = -1;
      let rate = Infinity;
      for (const [port, { size }] of users.entries()) {
        const each = (room[port] ?? 0) / size;
        if (size === 0 || each >= rate) continue;
        rate = each;
        narrowest = port;
      }
      for (const flow of [...(users[narrowest] ?? [])]) {
        flow.rate = rate;
        left--;
        for (const port of [flow.from, this.#count + flow.to]) {
          users[port]?.delete(flow);
          room[port] = Math.max(0, (room[port] ?? 0) - rate);
        }
      }
    }
  }
}
