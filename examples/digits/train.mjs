#!/usr/bin/env node
/**
 * Trains a small neural network (a multilayer perceptron with one hidden layer)
 * to read handwritten digits. Plain Node, no dependencies, one file, so that it
 * can travel to any machine.
 *
 *     node train.mjs --data digits.csv.gz --size 64 --dropout 0.2 --epochs 60
 *
 * stderr: one line an epoch. stdout: the test accuracy, one bare number.
 * Exit status: 0 done, 1 the data cannot be read, 2 wrong arguments.
 */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

const PIXELS = 64;
const PIXEL_MAX = 16;
const CLASSES = 10;
const TEST_SHARE = 0.2;
/** The split never depends on --seed: every run is judged by the same test set. */
const SPLIT_SEED = 1998;
const BATCH = 32;
const LEARNING_RATE = 0.003;
const MAX_DATA_BYTES = 64 * 1024 * 1024;

const USAGE = `usage: train.mjs --data FILE [--size N] [--dropout P] [--epochs N] [--seed N]
  --data FILE    digits, .csv or .csv.gz: 64 pixels (0..16) and the digit, one image a row
  --size N       units of the hidden layer, 1 to 4096 (default 64)
  --dropout P    share of hidden units left out while training, 0 <= P < 1 (default 0.2)
  --epochs N     passes over the training images, 1 to 10000 (default 60)
  --seed N       0 to 4294967295 (default: RAIN_SEED, or 0)`;

/** An error that is the caller's to mend; its message is all that is shown. */
class Failure extends Error {
  /**
   * @param {number} exitCode
   * @param {string} message
   */
  constructor(exitCode, message) {
    super(message);
    this.exitCode = exitCode;
  }
}

// ---------------------------------------------------------------- arguments

/**
 * @typedef {object} Options
 * @property {string} data
 * @property {number} size
 * @property {number} dropout
 * @property {number} epochs
 * @property {number} seed
 */

/**
 * @param {string} flag
 * @param {string} value
 * @param {number} min
 * @param {number} max
 */
function integer(flag, value, min, max) {
  const number = Number(value);
  if (!/^\d+$/.test(value) || number < min || number > max) {
    throw new Failure(2, `${flag} "${value}": must be a whole number from ${min} to ${max}`);
  }
  return number;
}

/**
 * @param {string} flag
 * @param {string} value
 */
function probability(flag, value) {
  const number = Number(value);
  if (value.trim() === "" || !(number >= 0 && number < 1)) {
    throw new Failure(2, `${flag} "${value}": must be a number P with 0 <= P < 1`);
  }
  return number;
}

/**
 * Accepts `--flag value` and `--flag=value`; the last one of a flag wins.
 *
 * @param {string[]} args
 * @param {string | undefined} envSeed
 * @returns {Options}
 */
function parseArguments(args, envSeed) {
  const options = { data: "", size: 64, dropout: 0.2, epochs: 60, seed: 0 };
  if (envSeed !== undefined && envSeed !== "") options.seed = integer("RAIN_SEED", envSeed, 0, 2 ** 32 - 1);
  /** @type {Record<string, (value: string) => void>} */
  const flags = {
    "--data": (value) => (options.data = value),
    "--size": (value) => (options.size = integer("--size", value, 1, 4096)),
    "--dropout": (value) => (options.dropout = probability("--dropout", value)),
    "--epochs": (value) => (options.epochs = integer("--epochs", value, 1, 10_000)),
    "--seed": (value) => (options.seed = integer("--seed", value, 0, 2 ** 32 - 1)),
  };
  for (let i = 0; i < args.length; i++) {
    const [, flag = "", inline] = /^(--?[^=]*)(?:=(.*))?$/s.exec(args[i] ?? "") ?? [];
    const set = Object.hasOwn(flags, flag) ? flags[flag] : undefined;
    if (!set) throw new Failure(2, `unknown argument ${args[i]}\n${USAGE}`);
    const value = inline ?? args[++i];
    if (value === undefined) throw new Failure(2, `${flag} needs a value\n${USAGE}`);
    set(value);
  }
  if (options.data === "") throw new Failure(2, `--data is missing: a file name is needed\n${USAGE}`);
  return options;
}

// --------------------------------------------------------------------- data

/**
 * @typedef {object} Images
 * @property {Float64Array} pixels   PIXELS values for each image, 0..1
 * @property {Uint8Array} digits
 */

/**
 * Compressed or not is seen in the bytes, because the name may be anything.
 *
 * @param {string} file
 */
function readText(file) {
  try {
    const bytes = readFileSync(file);
    const isGzip = bytes[0] === 0x1f && bytes[1] === 0x8b;
    return (isGzip ? gunzipSync(bytes, { maxOutputLength: MAX_DATA_BYTES }) : bytes).toString("utf8");
  } catch (error) {
    throw new Failure(1, `cannot read ${file}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/**
 * @param {string} file
 * @returns {Images}
 */
function readImages(file) {
  const rows = readText(file).trim().split(/\r?\n/);
  const pixels = new Float64Array(rows.length * PIXELS);
  const digits = new Uint8Array(rows.length);
  rows.forEach((row, r) => {
    const cells = row.split(",");
    const where = `cannot read ${file}: line ${r + 1}`;
    if (cells.length !== PIXELS + 1) {
      throw new Failure(1, `${where} has ${cells.length} columns, ${PIXELS + 1} are needed`);
    }
    cells.forEach((cell, c) => {
      const max = c < PIXELS ? PIXEL_MAX : CLASSES - 1;
      const value = Number(cell);
      if (!/^\s*\d+\s*$/.test(cell) || value > max) {
        throw new Failure(1, `${where}, column ${c + 1}: "${cell}" is not a whole number from 0 to ${max}`);
      }
      if (c < PIXELS) pixels[r * PIXELS + c] = value / PIXEL_MAX;
      else digits[r] = value;
    });
  });
  if (rows.length < 10)
    throw new Failure(1, `cannot read ${file}: ${rows.length} images are too few to train and test`);
  return { pixels, digits };
}

// ------------------------------------------------------------------- chance

/**
 * Mulberry32: small, fast, and the same numbers everywhere.
 *
 * @param {number} seed
 * @returns {() => number} uniform in [0, 1)
 */
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * @param {Uint32Array} indices   shuffled in place
 * @param {() => number} random
 */
function shuffle(indices, random) {
  for (let i = indices.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    const held = indices[i];
    indices[i] = indices[j];
    indices[j] = held;
  }
}

/** @param {number} count */
function split(count) {
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  shuffle(order, generator(SPLIT_SEED));
  const tests = Math.round(count * TEST_SHARE);
  return { test: order.slice(0, tests), train: order.slice(tests) };
}

// ------------------------------------------------------------------ network

/**
 * One array of parameters with its gradient and Adam's two moving averages.
 *
 * @param {number} length
 * @param {() => number} init
 */
function parameters(length, init) {
  return {
    value: Float64Array.from({ length }, init),
    gradient: new Float64Array(length),
    mean: new Float64Array(length),
    variance: new Float64Array(length),
  };
}

/** @typedef {ReturnType<typeof parameters>} Parameters */

/**
 * @param {number} size
 * @param {() => number} random
 */
function createNetwork(size, random) {
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  return {
    size,
    w1: parameters(size * PIXELS, () => normal() * Math.sqrt(2 / PIXELS)),
    b1: parameters(size, () => 0),
    w2: parameters(CLASSES * size, () => normal() * Math.sqrt(2 / size)),
    b2: parameters(CLASSES, () => 0),
    hidden: new Float64Array(size),
    /** What a hidden unit is multiplied by: 0 when dropped out, 1 / (1 - P) when kept. */
    mask: new Float64Array(size).fill(1),
    output: new Float64Array(CLASSES),
    steps: 0,
  };
}

/** @typedef {ReturnType<typeof createNetwork>} Network */

/**
 * Fills `hidden` and `output` (class probabilities) for one image.
 *
 * @param {Network} net
 * @param {Float64Array} x
 */
function forward(net, x) {
  const { size, w1, b1, w2, b2, hidden, mask, output } = net;
  for (let h = 0; h < size; h++) {
    let sum = b1.value[h];
    if (mask[h] !== 0) for (let p = 0, w = h * PIXELS; p < PIXELS; p++, w++) sum += w1.value[w] * x[p];
    hidden[h] = sum > 0 ? sum * mask[h] : 0;
  }
  let top = -Infinity;
  for (let c = 0; c < CLASSES; c++) {
    let sum = b2.value[c];
    for (let h = 0, w = c * size; h < size; h++, w++) sum += w2.value[w] * hidden[h];
    output[c] = sum;
    if (sum > top) top = sum;
  }
  let total = 0;
  for (let c = 0; c < CLASSES; c++) total += output[c] = Math.exp(output[c] - top);
  for (let c = 0; c < CLASSES; c++) output[c] /= total;
}

/**
 * Adds one image's gradient of the cross-entropy, after `forward`.
 *
 * @param {Network} net
 * @param {Float64Array} x
 * @param {number} digit
 */
function backward(net, x, digit) {
  const { size, w1, b1, w2, b2, hidden, mask, output } = net;
  output[digit] -= 1;
  for (let c = 0; c < CLASSES; c++) b2.gradient[c] += output[c];
  for (let h = 0; h < size; h++) {
    if (hidden[h] === 0) continue; // dropped out or not active: nothing flows back
    let delta = 0;
    for (let c = 0, w = h; c < CLASSES; c++, w += size) {
      w2.gradient[w] += output[c] * hidden[h];
      delta += output[c] * w2.value[w];
    }
    delta *= mask[h];
    b1.gradient[h] += delta;
    for (let p = 0, w = h * PIXELS; p < PIXELS; p++, w++) w1.gradient[w] += delta * x[p];
  }
}

/**
 * One step of Adam over the mean of the batch's gradients, which are cleared.
 *
 * @param {Network} net
 * @param {number} batchSize
 */
function update(net, batchSize) {
  net.steps++;
  const rate = (LEARNING_RATE * Math.sqrt(1 - 0.999 ** net.steps)) / (1 - 0.9 ** net.steps);
  for (const { value, gradient, mean, variance } of [net.w1, net.b1, net.w2, net.b2]) {
    for (let i = 0; i < value.length; i++) {
      const g = gradient[i] / batchSize;
      mean[i] = 0.9 * mean[i] + 0.1 * g;
      variance[i] = 0.999 * variance[i] + 0.001 * g * g;
      value[i] -= (rate * mean[i]) / (Math.sqrt(variance[i]) + 1e-8);
      gradient[i] = 0;
    }
  }
}

// ------------------------------------------------------------------ training

/**
 * @param {Images} images
 * @param {number} i
 */
function image(images, i) {
  return images.pixels.subarray(i * PIXELS, (i + 1) * PIXELS);
}

/**
 * One pass over the training images; returns the mean loss.
 *
 * @param {Network} net
 * @param {Images} images
 * @param {Uint32Array} order
 * @param {number} dropout
 * @param {() => number} random
 */
function trainEpoch(net, images, order, dropout, random) {
  shuffle(order, random);
  let loss = 0;
  for (let start = 0; start < order.length; start += BATCH) {
    const batch = order.subarray(start, start + BATCH);
    for (const i of batch) {
      for (let h = 0; h < net.size; h++) net.mask[h] = random() < dropout ? 0 : 1 / (1 - dropout);
      const x = image(images, i);
      const digit = images.digits[i];
      forward(net, x);
      loss -= Math.log(Math.max(net.output[digit], 1e-300));
      backward(net, x, digit);
    }
    update(net, batch.length);
  }
  return loss / order.length;
}

/**
 * The share of images whose most probable class is right, with every unit on.
 *
 * @param {Network} net
 * @param {Images} images
 * @param {Uint32Array} order
 */
function accuracy(net, images, order) {
  net.mask.fill(1);
  let right = 0;
  for (const i of order) {
    forward(net, image(images, i));
    if (net.output.indexOf(Math.max(...net.output)) === images.digits[i]) right++;
  }
  return right / order.length;
}

/** @param {Options} options */
function run(options) {
  const images = readImages(options.data);
  const { train, test } = split(images.digits.length);
  const random = generator(options.seed);
  const net = createNetwork(options.size, random);
  let score = 0;
  for (let epoch = 1; epoch <= options.epochs; epoch++) {
    const loss = trainEpoch(net, images, train, options.dropout, random);
    score = accuracy(net, images, test);
    process.stderr.write(`epoch=${epoch} loss=${loss.toFixed(4)} accuracy=${score.toFixed(4)}\n`);
  }
  process.stdout.write(`${score.toFixed(4)}\n`);
}

try {
  const args = process.argv.slice(2);
  if (args.includes("--help") || args.includes("-h")) process.stdout.write(`${USAGE}\n`);
  else run(parseArguments(args, process.env["RAIN_SEED"]));
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  process.stderr.write(`train.mjs: ${error.message}\n`);
  process.exitCode = error.exitCode;
}
