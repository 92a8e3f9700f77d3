const N = 624;
const M = 397;

/** The largest seed: numpy's `seed(int)` takes 32 bits. */
export const MAX_SEED: number = 2 ** 32 - 1;

/** Mersenne Twister, seeded as numpy's `RandomState(seed)`. */
export class Mt19937 {
  private readonly key = new Uint32Array(N);
  private position = N;

  /** `seed`: an integer from 0 to MAX_SEED. */
  constructor(seed: number) {
    let word = seed >>> 0;
    for (let i = 0; i < N; i++) {
      this.key[i] = word;
      word = (Math.imul(1812433253, word ^ (word >>> 30)) + i + 1) >>> 0;
    }
  }

  /** 32 random bits. */
  next32(): number {
    if (this.position === N) this.refill();
    let y = this.key[this.position++] as number;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  next64(): bigint {
    const high = BigInt(this.next32());
    return (high << 32n) | BigInt(this.next32());
  }

  /** In [0, 1), with 53 random bits. */
  nextDouble(): number {
    const a = this.next32() >>> 5;
    const b = this.next32() >>> 6;
    return (a * 67108864 + b) / 9007199254740992;
  }

  private refill(): void {
    const key = this.key;
    for (let i = 0; i < N; i++) {
      const y = ((key[i] as number) & 0x80000000) | ((key[(i + 1) % N] as number) & 0x7fffffff);
      const twist = (y & 1) === 1 ? 0x9908b0df : 0;
      key[i] = (key[(i + M) % N] as number) ^ (y >>> 1) ^ twist;
    }
    this.position = 0;
  }
}
