import { median } from "./figures.mjs";
import { installCommand } from "./peers.mjs";

/** @typedef {import("./figures.mjs").Figure} Figure */
/**
 * A peer as a benchmark knows it; without `peer` it is not installed.
 * @typedef {{ readonly name: import("./peers.mjs").PeerName, readonly title: string, readonly peer?: import("./peers.mjs").Peer }} PeerSlot
 */

/**
 * A row for each peer and limit that Rain's own figure is held against.
 * @param {{ readonly figure: string, readonly unit: string, readonly note?: string }} about
 * @param {Readonly<Record<string, readonly number[]>>} rounds by subject; Rain's own are `rain`
 * @param {readonly PeerSlot[]} slots
 * @param {readonly (import("./figures.mjs").Limit | import("./figures.mjs").Missing)[]} [limits]
 * @returns {Figure[]}
 */
export function comparePeers(about, rounds, slots, limits = []) {
  const own = rounds["rain"] ?? [];
  const base = { ...about, value: median(own), rounds: own };
  const peers = slots.map(({ name, title, peer }) =>
    peer ? { name: title, value: median(rounds[name] ?? []) } : { name: title, missing: installCommand },
  );
  return [...peers, ...limits].map((peer) => ({ ...base, peer }));
}
