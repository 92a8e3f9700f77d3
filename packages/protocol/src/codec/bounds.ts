import { limits } from "../limits.ts";

/** What encoded bytes may hold. Sizes in bytes; `items` counts every value and every map key. */
export interface Bounds {
  readonly bytes: number;
  readonly depth: number;
  readonly items: number;
  readonly stringBytes: number;
  /** Keys of one map: a huge one is slow to build, and no message has one. */
  readonly mapKeys: number;
}

/** The bounds of one message on a link. Other users of the codec (a journal) may give wider ones. */
export const messageBounds: Bounds = {
  bytes: limits.messageBytes,
  depth: limits.messageDepth,
  items: limits.messageItems,
  stringBytes: limits.messageStringBytes,
  mapKeys: 10_000,
};

/**
 * Keys that no map may have: in an object they would reach its prototype, or what code expects to find there.
 */
export const forbiddenKeys: ReadonlySet<string> = new Set(["__proto__", "constructor", "prototype"]);
