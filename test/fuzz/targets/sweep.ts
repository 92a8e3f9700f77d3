import { expand, FUNCTION_NAMES, readFlags, renderError, STRATEGIES, SweepError } from "@rain/sweep";
import type { Random } from "../random.ts";
import type { OpenTarget, Outcome, Target } from "../target.ts";

/** Words of command lines that sweep, of every kind that docs/sweeps.md has, and filters. */
const words: readonly string[] = [
  "[1, 2, 3]",
  "['adam', \"sgd\", r'\\n', True, None]",
  "[(1, 'a'), (2, 'b')]",
  "[1e-3 * 2 ** i - 7 // 2 % 3]",
  "[0x1F, 1_000, .5, -1e-300, 1e308]",
  "range(0, 10, 3)",
  "linspace(0, 1, 5)",
  "logspace(-4, -1, num=4)",
  "uniform(1e-5, 1e-1, 3)",
  "normal(loc=0, scale=1, size=4)",
  "loguniform(1e-4, 1e-1, 3)",
  "randint(0, 100, 5)",
  "choice(['a', 'b', 'c'], 2)",
  "choice([1, 2, 3], size=2, p=[0.5, 0.25, 0.25])",
  "poisson(5, 3)",
  "binomial(10, 0.5, 3)",
  "sobol(0, 1, 4)",
  "np.random.uniform(0, 1, 2)",
  "literal:[1, 2]",
  "lr * batch < 1 and not (opt == 'adam' or opt in ['x', 'y'])",
  "lr < 0.1 <= batch != None",
  "größe=[1, 2]",
];
const pieces: readonly string[] = [
  ..."[]()+-*/%<>=!,.:;'\"\\&|{}#@~ \n\t\0",
  "**",
  "//",
  "==",
  "!=",
  "<=",
  "not ",
  " and ",
  " in ",
  "size=",
  "p=",
  "1e308",
  "1e-999",
  "9".repeat(30),
  "-0",
  "2**4095",
  "99999999",
  "1000000",
  "nan",
  "inf",
  "\ud800",
  "é",
  "😀",
  "lr",
  "batch",
  "lambda",
  "**5000",
  ...FUNCTION_NAMES.map((name) => `${name}(`),
];

function mutant(random: Random): string {
  let text = random.pick(words);
  do text = change(text, random);
  while (!random.oneIn(3));
  return text.slice(0, 2_000);
}

function change(text: string, random: Random): string {
  const at = random.below(text.length + 1);
  const end = at + random.below(8);
  switch (random.below(6)) {
    case 0:
      return text.slice(0, at) + text.slice(end);
    case 1:
    case 2:
      return text.slice(0, at) + random.pick(pieces) + text.slice(at);
    case 3:
      return text.slice(0, at) + random.pick(pieces) + text.slice(end);
    case 4:
      return text.slice(0, at) + random.pick(words) + text.slice(random.oneIn(2) ? at : end);
    default:
      return text.slice(0, end) + text.slice(at);
  }
}

interface Input {
  readonly words: readonly string[];
  readonly where?: string;
  readonly strategy: string;
}
function input(random: Random): Input {
  const text = mutant(random);
  const strategy = random.pick([...STRATEGIES, "grid_search", "grid_search"]);
  if (random.oneIn(4)) return { words: ["--lr", "[0.1, 1]", "--batch", "[2, 'a']"], where: text, strategy };
  if (random.oneIn(4)) return { words: ["--lr", "[0.1, 1]", "--batch", text], strategy };
  return { words: random.oneIn(2) ? [text] : ["--lr", text], strategy };
}

/** Takes the first trials: values are made when they are asked for. */
function use({ words, where, strategy }: Input): void {
  const { trials } = expand(readFlags(words), {
    seed: 7,
    strategy,
    maxTrials: 100_000,
    ...(strategy === "random_search" ? { trials: 5 } : {}),
    ...(where === undefined ? {} : { where }),
  });
  for (const trial of trials) {
    if (trial.args.some((arg) => typeof arg !== "string")) throw new Error("an argument that is no text");
    if (trial.index >= 20) break;
  }
}

/** A mistake is shown at its place, in words. */
function checkError(error: SweepError): void {
  const { span, source } = error;
  if (/undefined|\[object/.test(error.message)) throw new Error(`a message for nobody: ${error.message}`);
  if (span === undefined || source === undefined) return;
  if (!(span.start >= 0 && span.end >= span.start && span.end <= source.length))
    throw new Error(`a place from ${span.start} to ${span.end} in a text of ${source.length}`);
  if (!renderError(source, error).includes("^")) throw new Error("an error that shows no place");
}

/** Expressions of sweeps: values, or a SweepError that shows the place. */
export const sweep: Target = {
  name: "sweep",
  open: () => {
    const target: OpenTarget = {
      run: (random): Outcome => {
        try {
          use(input(random));
          return "accepted";
        } catch (error) {
          if (!(error instanceof SweepError)) throw error;
          checkError(error);
          return "refused";
        }
      },
      show: (random) => JSON.stringify(input(random)),
    };
    return Promise.resolve(target);
  },
};
