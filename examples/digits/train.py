#!/usr/bin/env python3
"""Trains a small neural network (a multilayer perceptron with one hidden layer)
to read handwritten digits. The twin of train.mjs: the same command line, the
same network, the same split into training and test images. Needs numpy.

    python3 train.py --data digits.csv.gz --size 64 --dropout 0.2 --epochs 60

stderr: one line an epoch. stdout: the test accuracy, one bare number.
Exit status: 0 done, 1 the data cannot be read, 2 wrong arguments or no numpy.
"""

import argparse
import gzip
import io
import os
import sys
import warnings
import zlib

# One task has one core; the matrices are too small to gain from more threads.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

try:
    import numpy as np
except ImportError as error:
    print(f"train.py: numpy is needed and cannot be loaded ({error}); try: python3 -m pip install numpy", file=sys.stderr)
    sys.exit(2)

PIXELS = 64
PIXEL_MAX = 16
CLASSES = 10
TEST_SHARE = 0.2
# The split never depends on --seed: every run is judged by the same test set.
SPLIT_SEED = 1998
BATCH = 32
LEARNING_RATE = 0.003


def integer(low, high):
    def parse(text):
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f'"{text}": must be a whole number from {low} to {high}')
        return int(text)

    return parse


def probability(text):
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f'"{text}": must be a number P with 0 <= P < 1')
    return value


def parse_arguments():
    parser = argparse.ArgumentParser(prog="train.py", description="Train a digit reader; prints the test accuracy.", allow_abbrev=False)
    seed = integer(0, 2**32 - 1)
    parser.add_argument("--data", required=True, metavar="FILE", help="digits, .csv or .csv.gz: 64 pixels (0..16) and the digit, one image a row")
    parser.add_argument("--size", type=integer(1, 4096), default=64, metavar="N", help="units of the hidden layer (default 64)")
    parser.add_argument("--dropout", type=probability, default=0.2, metavar="P", help="share of hidden units left out while training (default 0.2)")
    parser.add_argument("--epochs", type=integer(1, 10_000), default=60, metavar="N", help="passes over the training images (default 60)")
    parser.add_argument("--seed", type=seed, default=None, metavar="N", help="default: RAIN_SEED, or 0")
    options = parser.parse_args()
    if options.seed is None:
        try:
            options.seed = seed(os.environ.get("RAIN_SEED") or "0")
        except argparse.ArgumentTypeError as error:
            parser.error(f"RAIN_SEED {error}")
    return options


def fail_reading(file, why):
    print(f"train.py: cannot read {file}: {why}", file=sys.stderr)
    sys.exit(1)


def read_images(file):
    """Compressed or not is seen in the bytes, because the name may be anything."""
    try:
        with open(file, "rb") as stream:
            data = stream.read()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an empty file is reported below
            table = np.loadtxt(io.BytesIO(data), delimiter=",", dtype=np.int64, ndmin=2, comments=None)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        fail_reading(file, error)
    if table.shape[0] < 10 or table.shape[1] != PIXELS + 1:
        fail_reading(file, f"{table.shape[0]} rows of {table.shape[1]} columns; at least 10 rows of {PIXELS + 1} are needed")
    pixels, digits = table[:, :PIXELS], table[:, PIXELS]
    if pixels.min() < 0 or pixels.max() > PIXEL_MAX or digits.min() < 0 or digits.max() >= CLASSES:
        fail_reading(file, f"pixels must be 0 to {PIXEL_MAX} and digits 0 to {CLASSES - 1}")
    return pixels / PIXEL_MAX, digits


def mulberry32(seed):
    """The generator of train.mjs, so that both are judged by the same images."""
    mask = 0xFFFFFFFF
    while True:
        seed = (seed + 0x6D2B79F5) & mask
        t = ((seed ^ (seed >> 15)) * (seed | 1)) & mask
        t ^= (t + (((t ^ (t >> 7)) * (t | 61)) & mask)) & mask
        yield (t ^ (t >> 14)) / 2**32


def split(count):
    random = mulberry32(SPLIT_SEED)
    order = list(range(count))
    for i in range(count - 1, 0, -1):
        j = int(next(random) * (i + 1))
        order[i], order[j] = order[j], order[i]
    tests = int(count * TEST_SHARE + 0.5)
    return np.array(order[tests:]), np.array(order[:tests])


class Network:
    def __init__(self, size, random):
        self.random = random
        self.weights = [
            random.standard_normal((PIXELS, size)) * np.sqrt(2 / PIXELS),
            np.zeros(size),
            random.standard_normal((size, CLASSES)) * np.sqrt(2 / size),
            np.zeros(CLASSES),
        ]
        self.mean = [np.zeros_like(w) for w in self.weights]
        self.variance = [np.zeros_like(w) for w in self.weights]
        self.steps = 0

    def forward(self, x, dropout):
        """Returns the hidden layer, what it was multiplied by, and the class probabilities."""
        w1, b1, w2, b2 = self.weights
        hidden = x @ w1 + b1
        mask = (hidden > 0).astype(float)
        if dropout > 0:
            mask *= (self.random.random(hidden.shape) >= dropout) / (1 - dropout)
        hidden = hidden * mask
        logits = hidden @ w2 + b2
        output = np.exp(logits - logits.max(axis=1, keepdims=True))
        return hidden, mask, output / output.sum(axis=1, keepdims=True)

    def learn(self, x, digits, dropout):
        """One minibatch: forward, back, one step of Adam. Returns the summed loss."""
        hidden, mask, output = self.forward(x, dropout)
        rows = np.arange(len(digits))
        loss = -np.log(np.maximum(output[rows, digits], 1e-300)).sum()
        output[rows, digits] -= 1
        output /= len(digits)
        delta = output @ self.weights[2].T * mask
        self.adam([x.T @ delta, delta.sum(axis=0), hidden.T @ output, output.sum(axis=0)])
        return loss

    def adam(self, gradients):
        self.steps += 1
        rate = LEARNING_RATE * np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        for weight, gradient, mean, variance in zip(self.weights, gradients, self.mean, self.variance):
            mean += 0.1 * (gradient - mean)
            variance += 0.001 * (gradient * gradient - variance)
            weight -= rate * mean / (np.sqrt(variance) + 1e-8)


def main():
    options = parse_arguments()
    pixels, digits = read_images(options.data)
    train, test = split(len(digits))
    random = np.random.default_rng(options.seed)
    network = Network(options.size, random)
    accuracy = 0.0
    for epoch in range(1, options.epochs + 1):
        random.shuffle(train)
        batches = [train[start : start + BATCH] for start in range(0, len(train), BATCH)]
        loss = sum(network.learn(pixels[b], digits[b], options.dropout) for b in batches) / len(train)
        guesses = network.forward(pixels[test], 0)[2].argmax(axis=1)
        accuracy = float((guesses == digits[test]).mean())
        print(f"epoch={epoch} loss={loss:.4f} accuracy={accuracy:.4f}", file=sys.stderr, flush=True)
    print(f"{accuracy:.4f}")


if __name__ == "__main__":
    main()
