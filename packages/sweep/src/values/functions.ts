import { DISTRIBUTIONS } from "./distributions.ts";
import { PICKS } from "./picks.ts";
import { SEARCHES } from "./searches.ts";
import { SEQUENCES, type CallForm } from "./sequences.ts";

const FORMS: ReadonlyMap<string, CallForm> = new Map(
  Object.entries({ ...SEQUENCES, ...SEARCHES, ...PICKS, ...DISTRIBUTIONS }),
);

/** Every name that a value may call, in alphabetical order. */
export const FUNCTION_NAMES: readonly string[] = [...FORMS.keys()].toSorted();

export const functionNamed = (name: string): CallForm | undefined => FORMS.get(name);

/** Names that people know from elsewhere, and what they are here. */
export const OTHER_NAMES: ReadonlyMap<string, string> = new Map([
  ["rand", "uniform(0, 1, size)"],
  ["random", "uniform(0, 1, size)"],
  ["random_sample", "uniform(0, 1, size)"],
  ["randn", "standard_normal(size)"],
  ["gauss", "normal(loc, scale, size)"],
  ["randrange", "randint(low, high, size)"],
  ["random_integers", "randint(low, high + 1, size)"],
  ["integers", "randint(low, high, size)"],
  ["shuffle", "permutation(x)"],
  ["log_uniform", "loguniform(low, high, size)"],
  ["reciprocal", "loguniform(low, high, size)"],
  ["sobol", "qmc(low, high, size)"],
  ["expon", "exponential(scale, size)"],
  ["list", "a list: [1, 2, 3]"],
  ["seq", "range(start, stop, step)"],
]);
