import { multinomial } from "../random/binomial.ts";
import { choose, permutation } from "../random/choice.ts";
import type { Stream } from "../random/stream.ts";
import { dirichlet, isPositiveSemidefinite, multivariateNormal } from "../random/vectors.ts";
import { axisOf, MAX_SAMPLES, vectors, type Axis, type Plan } from "./axis.ts";
import type { Call } from "./call.ts";
import type { CallForm } from "./sequences.ts";
import { intValue, kindName, type Value } from "./value.ts";

const random = (length: number, draw: (s: Stream) => Axis): Plan => ({
  length,
  random: true,
  draw: ({ stream }) => draw(stream),
  warnings: [],
});

/** What `choice` and `permutation` take: a list of items, or n for 0 to n - 1. */
function population(call: Call, name: string): readonly Value[] | number {
  const value = call.value(name);
  if (value?.kind === "list") {
    if (value.items.length === 0) call.fail(`${name} is empty`, call.span(name));
    return value.items;
  }
  if (value?.kind === "int") {
    return call.int(name, undefined, [(x) => x > 0, "above 0"], [(x) => x <= 2 ** 32, "at most 2**32"]);
  }
  const what = value === undefined ? "None" : kindName(value);
  return call.fail(
    `${name} must be a list or a whole number, this is ${what}`,
    call.span(name),
    call.signature(),
  );
}

const pick = (items: readonly Value[] | number, indices: readonly number[]): Axis => ({
  length: indices.length,
  at: (i) =>
    typeof items === "number" ? intValue(indices[i] as number) : (items[indices[i] as number] as Value),
});

/** numpy's tolerance for a sum of probabilities. */
const TOLERANCE = Math.sqrt(2 ** -52);

function kahanSum(values: readonly number[]): number {
  let sum = values[0] ?? 0;
  let lost = 0;
  for (const value of values.slice(1)) {
    const y = value - lost;
    const t = sum + y;
    lost = t - sum - y;
    sum = t;
  }
  return sum;
}

function probabilities(call: Call, size: number): number[] | undefined {
  if (!call.has("p")) return undefined;
  const p = call.floats("p", [(x) => x >= 0, "a list of numbers from 0 to 1"]);
  if (p.length !== size) {
    call.fail(`p has ${p.length} numbers for ${size} items`, call.span("p"), "one number for each item");
  }
  const sum = kahanSum(p);
  if (Math.abs(sum - 1) > TOLERANCE) call.fail(`p sums up to ${sum}, not to 1`, call.span("p"));
  return p;
}

function planChoice(call: Call): Plan {
  const items = population(call, "a");
  const size = typeof items === "number" ? items : items.length;
  const count = call.count("size", 1);
  const replace = call.boolean("replace", true);
  const p = probabilities(call, size);
  const available = p ? p.filter((x) => x > 0).length : size;
  if (!replace && count > available) {
    const hint = "take fewer, or leave out replace=False";
    call.fail(`${count} values without repeats from ${available}`, call.spanOf(["size"]), hint);
  }
  if (!replace && size > MAX_SAMPLES) {
    call.fail(`replace=False works up to ${MAX_SAMPLES} items, these are ${size}`, call.span("a"));
  }
  return random(count, (s) => pick(items, choose(s, size, count, replace, p)));
}

function planPermutation(call: Call): Plan {
  const items = population(call, "x");
  const size = typeof items === "number" ? items : items.length;
  if (size > MAX_SAMPLES) call.fail(`${size} values, the limit is ${MAX_SAMPLES}`, call.span("x"));
  return random(size, (s) => pick(items, permutation(s, size)));
}

function planRandint(call: Call): Plan {
  const lone = !call.has("high");
  const low = lone ? 0n : call.bigint("low");
  const high = call.bigint(lone ? "low" : "high");
  if (low >= high) {
    const hint = lone ? "write 1 or more" : `randint(${low}, ${low + 1n}) gives ${low}: high is never drawn`;
    call.fail(`no whole number is from ${low} up to below ${high}`, call.spanOf(["low", "high"]), hint);
  }
  const count = call.count("size", 1);
  return random(count, (s) => {
    const max = high - 1n - low;
    return axisOf(Array.from({ length: count }, () => intValue(low + s.bigInterval(max))));
  });
}

function planMultinomial(call: Call): Plan {
  const n = call.int("n", undefined, [(x) => x >= 0, "0 or more"]);
  const pvals = call.floats("pvals", [(x) => x >= 0 && x <= 1, "a list of numbers from 0 to 1"]);
  if (kahanSum(pvals.slice(0, -1)) > 1 + 1e-12) {
    call.fail("pvals without its last sums up to more than 1", call.span("pvals"));
  }
  const count = call.count("size", 1);
  return random(count, (s) =>
    vectors(
      Array.from({ length: count }, () => multinomial(s, n, pvals)),
      true,
    ),
  );
}

function planDirichlet(call: Call): Plan {
  const alpha = call.floats("alpha", [(x) => x > 0, "a list of numbers above 0"]);
  const count = call.count("size", 1);
  return random(count, (s) =>
    vectors(
      Array.from({ length: count }, () => dirichlet(s, alpha)),
      false,
    ),
  );
}

const MAX_DIMENSIONS = 100;

function covariance(call: Call, size: number): number[][] {
  const value = call.value("cov");
  const bad = `cov must be ${size} lists of ${size} numbers, one for each number of mean`;
  if (value?.kind !== "list" || value.items.length !== size) return call.fail(bad, call.span("cov"));
  const rows = value.items.map((row) => {
    if (row.kind !== "list" || row.items.length !== size) return call.fail(bad, call.span("cov"));
    return row.items.map((item) => {
      if (item.kind !== "int" && item.kind !== "float") return call.fail(bad, call.span("cov"));
      return Number(item.value);
    });
  });
  const symmetric = rows.every((row, i) => row.every((x, j) => x === rows[j]?.[i]));
  if (!symmetric || !rows.flat().every(Number.isFinite) || !isPositiveSemidefinite(rows)) {
    call.fail("cov must be symmetric and positive semidefinite", call.span("cov"));
  }
  return rows;
}

function planMultivariateNormal(call: Call): Plan {
  const mean = call.floats("mean");
  if (mean.length > MAX_DIMENSIONS) {
    call.fail(`mean has ${mean.length} numbers, the limit is ${MAX_DIMENSIONS}`, call.span("mean"));
  }
  const cov = covariance(call, mean.length);
  const count = call.count("size", 1);
  return random(count, (s) => vectors(multivariateNormal(s, mean, cov, count), false));
}

/** Choices from a set, and numpy's distributions with one list a sample. */
export const PICKS: Readonly<Record<string, CallForm>> = {
  choice: { params: [["a"], ["size", "None"], ["replace", "True"], ["p", "None"]], plan: planChoice },
  permutation: { params: [["x"]], plan: planPermutation },
  randint: { params: [["low"], ["high", "None"], ["size", "None"]], plan: planRandint },
  multinomial: { params: [["n"], ["pvals"], ["size", "None"]], plan: planMultinomial },
  dirichlet: { params: [["alpha"], ["size", "None"]], plan: planDirichlet },
  multivariate_normal: { params: [["mean"], ["cov"], ["size", "None"]], plan: planMultivariateNormal },
};
