import { log } from "../libm/log.ts";
import { Mt19937 } from "./mt19937.ts";

/** The bits that are needed to write `max`, all set: the mask of rejection sampling. */
function maskOf(max: bigint): bigint {
  return (1n << BigInt(max.toString(2).length)) - 1n;
}

/** The one random stream of a sweep: numpy's legacy `RandomState`. */
export class Stream {
  private readonly bits: Mt19937;
  private spare: number | undefined;

  constructor(seed: number) {
    this.bits = new Mt19937(seed);
  }

  /** Uniform in [0, 1). */
  double(): number {
    return this.bits.nextDouble();
  }

  /** 32 random bits. */
  word(): number {
    return this.bits.next32();
  }

  /** A standard normal value (polar method); every second one was made with the one before. */
  gauss(): number {
    if (this.spare !== undefined) {
      const value = this.spare;
      this.spare = undefined;
      return value;
    }
    for (;;) {
      const x1 = 2 * this.double() - 1;
      const x2 = 2 * this.double() - 1;
      const r2 = x1 * x1 + x2 * x2;
      if (r2 >= 1 || r2 === 0) continue;
      const f = Math.sqrt((-2 * log(r2)) / r2);
      this.spare = f * x1;
      return f * x2;
    }
  }

  /** A uniform integer from 0 to `max`, both included, `max` below 2^32; draws nothing when `max` is 0. */
  interval(max: number): number {
    if (max === 0) return 0;
    const mask = 0xffffffff >>> Math.clz32(max);
    for (;;) {
      const value = (this.bits.next32() & mask) >>> 0;
      if (value <= max) return value;
    }
  }

  /** The same for a `max` below 2^64. */
  bigInterval(max: bigint): bigint {
    if (max <= 0xffffffffn) return BigInt(this.interval(Number(max)));
    const mask = maskOf(max);
    for (;;) {
      const value = this.bits.next64() & mask;
      if (value <= max) return value;
    }
  }

  /** Shuffles in place (Fisher and Yates, from the end). */
  shuffle(items: number[]): void {
    for (let i = items.length - 1; i >= 1; i--) {
      const j = this.interval(i);
      const held = items[j] as number;
      items[j] = items[i] as number;
      items[i] = held;
    }
  }
}
