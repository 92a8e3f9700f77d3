import { blob } from "@rain/client";
import { Random } from "./random.mjs";

// Graphs of tasks that only copy or join short texts, so that what is measured is the system and not the work. They
// are lists that any system can be given: a node is the list of its inputs, nodes before it by their numbers and the
// constants "0" to "9" as -1 to -10. A node of one input copies it, any other joins all of them; the last node's text
// is the result.

/** @typedef {readonly (readonly number[])[]} Graph */

const DIGITS = "0123456789";
/** @param {number} index */
const digit = (index) => -1 - (index % 10);
/**
 * @template T
 * @param {number} count
 * @param {(index: number) => T} make
 */
const times = (count, make) => Array.from({ length: count }, (_, index) => make(index));

/** Collects nodes; gives the number of each. */
class Builder {
  /** @type {number[][]} */
  nodes = [];

  /** @param {readonly number[]} inputs */
  add(inputs) {
    this.nodes.push([...inputs]);
    return this.nodes.length - 1;
  }
}

/**
 * Each fed by the one before.
 * @param {number} length
 * @returns {Graph}
 */
export const chain = (length) => times(length, (index) => [index === 0 ? digit(7) : index - 1]);

/**
 * Independent tasks, and one that joins all of them.
 * @param {number} count
 * @returns {Graph}
 */
export const merge = (count) => [...times(count, (index) => [digit(index)]), times(count, (index) => index)];

/**
 * 2^exponent constants, joined two by two until one text is left.
 * @param {number} exponent
 * @returns {Graph}
 */
export function tree(exponent) {
  const graph = new Builder();
  let level = times(2 ** exponent, digit);
  while (level.length > 1) {
    const below = level;
    level = times(below.length / 2, (at) => graph.add(below.slice(2 * at, 2 * at + 2)));
  }
  return graph.nodes;
}

const FORK = 8;
/**
 * So many times: one task, eight of it, a join, eight of that, a join; and one join of all.
 * @param {number} count
 * @returns {Graph}
 */
export function forkJoin(count) {
  const graph = new Builder();
  const ends = times(count, (index) => {
    let from = graph.add([digit(index)]);
    for (let stage = 0; stage < 2; stage += 1) {
      const source = from;
      from = graph.add(times(FORK, () => graph.add([source])));
    }
    return from;
  });
  graph.add(ends);
  return graph.nodes;
}

/**
 * Files; each two of them joined, the join passed on as their hash would be; and one join of all.
 * @param {number} count
 * @returns {Graph}
 */
export function gridcat(count) {
  const graph = new Builder();
  const files = times(count, (index) => graph.add([digit(index)]));
  const hashes = [];
  for (const [at, one] of files.entries()) {
    for (const other of files.slice(at + 1)) hashes.push(graph.add([graph.add([one, other])]));
  }
  graph.add(hashes);
  return graph.nodes;
}

const CHUNKS = 5;
/**
 * Cross-validation: five chunks, five joins of four of them; for each parameter and chunk a training on the four and
 * an evaluation with the fifth, for each parameter a join of its scores; and one join of all.
 * @param {number} parameters
 * @returns {Graph}
 */
export function crossValidation(parameters) {
  const graph = new Builder();
  const chunks = times(CHUNKS, (index) => graph.add([digit(index)]));
  const others = chunks.map((chunk) => graph.add(chunks.filter((other) => other !== chunk)));
  const scores = times(parameters, () => {
    const folds = chunks.map((chunk, at) => {
      const model = graph.add(others.slice(at, at + 1));
      return graph.add([model, chunk]);
    });
    return graph.add(folds);
  });
  graph.add(scores);
  return graph.nodes;
}

/**
 * Parts; of each part as many pieces, a task for each piece; a join of the first pieces, of the second and so on; and
 * one join of all.
 * @param {number} count
 * @returns {Graph}
 */
export function mapReduce(count) {
  const graph = new Builder();
  const parts = times(count, (index) => graph.add([digit(index)]));
  const maps = parts.map((part) => times(count, () => graph.add([part])));
  graph.add(times(count, (at) => graph.add(maps.map((pieces) => pieces[at] ?? 0))));
  return graph.nodes;
}

const LAYERS = 10;
/**
 * Ten layers of so many tasks; each takes one to three tasks of the layer before, drawn by a fixed seed; and one join
 * of the last layer.
 * @param {number} width
 * @returns {Graph}
 */
export function layered(width) {
  const graph = new Builder();
  const random = new Random(20_200_601);
  let layer = times(width, (index) => graph.add([digit(index)]));
  for (let depth = 1; depth < LAYERS; depth += 1) {
    const above = layer;
    layer = times(width, () => {
      const chance = random.below(10);
      const inputs = new Set(
        times(chance < 5 ? 1 : chance < 8 ? 2 : 3, () => above[random.below(width)] ?? 0),
      );
      return graph.add([...inputs]);
    });
  }
  graph.add(layer);
  return graph.nodes;
}

/**
 * The result, computed here.
 * @param {Graph} nodes
 */
export function resultOf(nodes) {
  const texts = /** @type {string[]} */ ([]);
  const read = (/** @type {number} */ source) => (source < 0 ? DIGITS[-1 - source] : texts[source]) ?? "";
  for (const node of nodes) texts.push(node.map(read).join(""));
  return texts.at(-1) ?? "";
}

/**
 * Milliseconds of a graph through Rain, from the first line that builds it to the last byte fetched.
 * @param {import("@rain/client").Client} client
 * @param {Graph} nodes
 */
export async function runGraph(client, nodes) {
  const session = await client.newSession("bench graph");
  const begin = performance.now();
  const constants = [...DIGITS].map((text) => blob(text));
  const tasks = /** @type {import("@rain/client").Task[]} */ ([]);
  for (const node of nodes) {
    const inputs = node.map((source) => {
      const object = source < 0 ? constants[-1 - source] : tasks[source]?.output;
      if (object === undefined) throw new Error(`the graph has no node ${source}`);
      return object;
    });
    const [only, second] = inputs;
    tasks.push(only && !second ? session.sleep(only, 0) : session.concat(inputs));
  }
  const last = tasks.at(-1);
  if (last === undefined) throw new Error("the graph is empty");
  last.output.keep();
  await session.submit();
  const result = (await last.output.fetch()).text();
  const ms = performance.now() - begin;
  await session.close();
  return { ms, result };
}
