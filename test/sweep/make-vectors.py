"""Writes numpy-vectors.json: what numpy itself draws, as the words of a command line.

    python3 -m venv /tmp/numpy && /tmp/numpy/bin/pip install numpy==2.4.6 scipy
    /tmp/numpy/bin/python test/sweep/make-vectors.py && npx prettier --write test/sweep/numpy-vectors.json

Run on Linux x86-64 with glibc 2.28 or newer: other mathematics libraries differ in the last bit of some values.
"""

import json
import math
import pathlib

import numpy as np
from scipy.stats import qmc

# One entry a stream: its calls are drawn one after the other, as the flags of one command line are.
EXACT = [
    ["uniform(1e-5, 1e-1, 3)"],
    ["uniform(size=4)", "uniform(-3, 7.5, 6)", "uniform(0, 1)"],
    ["standard_normal(5)", "normal(0, 1, 4)", "normal(10, 0.1, 3)", "normal(loc=-1, scale=2, size=2)"],
    ["normal(0, 1, 40)"],
    ["lognormal(0, 1, 25)", "lognormal(-3, 0.5, 5)", "lognormal(mean=2, sigma=0, size=2)"],
    ["exponential(1, 25)", "exponential(0.01, 5)", "standard_exponential(20)"],
    ["randint(10, size=12)", "randint(0, 100, 12)", "randint(-5, 6, 12)", "randint(1, 2, 3)", "uniform(0, 1, 2)"],
    ["randint(0, 2**32, 5)", "randint(0, 2**32 - 1, 5)", "randint(0, 2**31, 5)", "randint(0, 2**32 + 5, 5)"],
    ["randint(-2**63, 2**63 - 1, 6)", "randint(0, 10**15, 6)"],
    ["choice([16, 32, 64, 128], 10)", "choice(5, 10)", "choice(7)", "choice(3, size=3, replace=False)"],
    ["choice(100, 20, replace=False)", "choice(['a', 'b', 'c'], 6)", "choice(['x'], 3)"],
    ["choice(5, 12, p=[0.1, 0, 0.3, 0.6, 0])", "choice(['a', 'b', 'c'], 8, True, [0.2, 0.5, 0.3])"],
    ["choice(6, 5, False, [0.5, 0.1, 0.1, 0.1, 0.1, 0.1])", "choice(4, 3, replace=False, p=[0.25, 0.25, 0.5, 0])"],
    ["permutation(20)", "permutation(['a', 'b', 'c', 'd'])", "permutation(1)"],
    ["beta(0.5, 0.5, 15)", "beta(2, 3, 10)", "beta(1, 1, 5)", "beta(0.01, 0.02, 10)", "beta(0.3, 4, 5)"],
    ["binomial(10, 0.3, 15)", "binomial(1000, 0.4, 15)", "binomial(1000, 0.9, 15)", "binomial(20, 0.8, 8)"],
    ["binomial(0, 0.5, 3)", "binomial(100000, 0.5, 30)", "binomial(7, 0, 3)", "binomial(7, 1, 3)", "uniform(0, 1)"],
    ["chisquare(1, 8)", "chisquare(3.5, 8)", "chisquare(100, 5)"],
    ["dirichlet([1, 2, 3], 4)", "dirichlet([0.1, 0.1], 4)", "dirichlet([5, 0.5, 1, 2])"],
    ["f(2, 3, 8)", "f(0.5, 10, 8)"],
    ["gamma(0.5, 1, 10)", "gamma(1, 2, 5)", "gamma(3, 0.5, 12)", "gamma(0, 1, 2)", "standard_gamma(7.7, 8)"],
    ["gumbel(0, 1, 12)", "gumbel(5, 0.1, 5)"],
    ["hypergeometric(5, 7, 4, 12)", "hypergeometric(50, 70, 40, 12)", "hypergeometric(20, 8, 15, 8)"],
    ["hypergeometric(15, 15, 15, 10)", "hypergeometric(9, 3, 6, 6)"],
    ["laplace(0, 1, 15)", "laplace(-2, 0.3, 5)"],
    ["logistic(0, 1, 15)", "logistic(1, 3, 5)"],
    ["logseries(0.6, 15)", "logseries(0.99, 15)"],
    ["multinomial(20, [0.2, 0.3, 0.5], 5)", "multinomial(1000, [0.1, 0.2, 0.7], 4)"],
    ["negative_binomial(5, 0.5, 12)", "negative_binomial(2.5, 0.02, 12)"],
    ["noncentral_chisquare(3, 2, 8)", "noncentral_chisquare(0.5, 4, 8)", "noncentral_chisquare(3, 0, 4)"],
    ["noncentral_f(3, 20, 3, 8)", "noncentral_f(0.7, 5, 2, 8)"],
    ["pareto(3, 15)", "pareto(0.7, 8)"],
    ["poisson(1, 15)", "poisson(5.5, 10)", "poisson(40, 15)", "poisson(1e6, 5)", "poisson(0, 2)", "poisson(lam=10, size=10)"],
    ["power(5, 15)", "power(0.3, 8)"],
    ["standard_cauchy(12)"],
    ["standard_t(3, 12)", "standard_t(0.8, 6)"],
    ["triangular(0, 0.3, 1, 12)", "triangular(-5, -5, 2, 5)", "triangular(0, 4, 4, 5)"],
    ["wald(1, 1, 12)", "wald(0.2, 5, 8)", "wald(3, 0.1, 8)"],
    ["weibull(1.5, 12)", "weibull(0.3, 8)", "weibull(0, 2)"],
    ["zipf(2, 15)", "zipf(1.3, 15)", "zipf(4.5, 8)"],
    ["normal(0, 1, 3)", "uniform(0, 1, 2)", "normal(0, 1, 2)", "randint(0, 5, 3)", "lognormal(0, 1, 2)", "exponential(2, 2)"],
]
# The last bit of a value may differ: these use functions that C libraries do not agree on.
CLOSE = [
    ["geometric(0.5, 12)", "geometric(0.1, 15)", "geometric(1e-6, 10)", "geometric(1, 2)"],
    ["rayleigh(1, 15)", "rayleigh(0.2, 5)"],
    ["vonmises(0, 4, 12)", "vonmises(1, 0.5, 8)", "vonmises(2, 1e-6, 5)", "vonmises(0, 0, 3)"],
]
SEQUENCES = [
    "linspace(0, 1, 5)",
    "linspace(0, 1)",
    "linspace(2, 3, 7, endpoint=False)",
    "linspace(5, -5, 11)",
    "linspace(0.1, 0.7, 10)",
    "linspace(3, 9, 1)",
    "linspace(3, 3, 4)",
    "arange(5)",
    "arange(2, 10, 3)",
    "arange(10, 0, -4)",
    "arange(0, 1, 0.1)",
    "arange(0.5, 3.2, 0.7)",
    "arange(1.5)",
    "arange(1, 0, -0.3)",
]
CLOSE_SEQUENCES = [
    "logspace(-5, -1, 5)",
    "logspace(0, 3, 7, base=2)",
    "logspace(-3.5, 2.25, 9, endpoint=False)",
    "geomspace(1e-5, 1e-1, 5)",
    "geomspace(1, 1000, 4)",
    "geomspace(-8, -1, 4)",
    "geomspace(3, 50, 6, endpoint=False)",
    "geomspace(256, 1)",
]
SEEDS = [0, 1, 42, 4294967295]


def word(value):
    """A value as one word: floats as repr writes them, lists as JSON."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list):
        return json.dumps(value)
    return value if isinstance(value, str) else repr(value)


def words(result):
    array = np.asarray(result)
    return [word(array)] if array.ndim == 0 else [word(value) for value in array]


def one_row(call, result):
    """Without a size a vector is one sample, not a row of samples."""
    alone = call.startswith(("dirichlet", "multinomial")) and np.asarray(result).ndim == 1
    return [word(np.asarray(result))] if alone else words(result)


def draw(seed, calls):
    state = np.random.RandomState(seed)
    scope = {name: getattr(state, name) for name in dir(state) if not name.startswith("_")}
    return {"seed": seed, "flags": [{"call": c, "words": " | ".join(one_row(c, eval(c, scope)))} for c in calls]}


def sequence(call):
    return {"call": call, "words": " | ".join(words(eval(call, {name: getattr(np, name) for name in dir(np)})))}


def mathematics():
    """The C library's log, exp and pow where V8's differ in a tenth of all cases."""
    state = np.random.RandomState(7)
    rows = []
    for _ in range(150):
        u, v, w = state.uniform(0, 1, 3).tolist()
        rows.append(["log", [u], math.log(u)])
        rows.append(["log", [0.93 + 0.14 * v], math.log(0.93 + 0.14 * v)])
        rows.append(["log", [u * 10 ** (v * 600 - 300)], math.log(u * 10 ** (v * 600 - 300))])
        rows.append(["exp", [40 * v - 20], math.exp(40 * v - 20)])
        rows.append(["exp", [1440 * w - 740], math.exp(1440 * w - 740)])
        rows.append(["pow", [u, 20 * w - 10], math.pow(u, 20 * w - 10)])
        rows.append(["pow", [1e6 * v, 20 * u - 10], math.pow(1e6 * v, 20 * u - 10)])
    return [" ".join([name, *map(repr, args), repr(result)]) for name, args, result in rows]


def sobol():
    """The first points of all dimensions, as whole numbers out of 2^30."""
    points = qmc.Sobol(d=21, scramble=False, bits=30).random(32)
    return [" ".join(map(str, row)) for row in (points * 2**30).astype(int).T.tolist()]


vectors = {
    "numpy": np.__version__,
    "exact": [draw(seed, calls) for calls in EXACT for seed in SEEDS],
    "close": [draw(seed, calls) for calls in CLOSE for seed in SEEDS],
    "sequences": [sequence(call) for call in SEQUENCES],
    "closeSequences": [sequence(call) for call in CLOSE_SEQUENCES],
    "mathematics": mathematics(),
    "sobol": sobol(),
}
path = pathlib.Path(__file__).with_name("numpy-vectors.json")
path.write_text(json.dumps(vectors))
