import { binomial } from "../random/binomial.ts";
import * as draw from "../random/continuous.ts";
import { geometric, hypergeometric, logseries, negativeBinomial, zipf } from "../random/discrete.ts";
import { poisson } from "../random/poisson.ts";
import type { Stream } from "../random/stream.ts";
import { floats, integers, type Plan } from "./axis.ts";
import type { Call, Condition, Param } from "./call.ts";
import type { CallForm } from "./sequences.ts";

const POSITIVE: Condition = [(x) => x > 0, "above 0"];
const NOT_NEGATIVE: Condition = [(x) => x >= 0, "0 or more"];
const PROBABILITY: Condition = [(x) => x >= 0 && x <= 1, "from 0 to 1"];
const CHANCE: Condition = [(x) => x > 0 && x <= 1, "above 0 and at most 1"];
const BELOW_ONE: Condition = [(x) => x >= 0 && x < 1, "0 or more and below 1"];
const ONE_OR_MORE: Condition = [(x) => x >= 1, "1 or more"];
// Outside these limits numpy itself draws for ever, or gives numbers that do not fit in 64 bits.
const ZIPF: Condition = [(x) => x >= 1.01 && x <= 1024, "from 1.01 to 1024"];
const KAPPA: Condition = [(x) => x >= 0 && x <= 1e6, "from 0 to 1e6"];
const GEOMETRIC: Condition = [(x) => x >= 1e-15 && x <= 1, "from 1e-15 to 1"];

/** One parameter of a distribution with one number a sample. */
interface Number1 {
  readonly name: string;
  readonly fallback?: number;
  readonly whole?: boolean;
  readonly conditions: readonly Condition[];
}

const p = (name: string, ...conditions: Condition[]): Number1 => ({ name, conditions });
const whole = (name: string, ...conditions: Condition[]): Number1 => ({ name, conditions, whole: true });
const or = (fallback: number, param: Number1): Number1 => ({ ...param, fallback });
const LOC = or(0, p("loc"));
const SCALE = or(1, p("scale", NOT_NEGATIVE));

/** Draws one sample; the numbers are in the order of the parameters. */
type Sampler = (s: Stream, ...args: [number, number, number]) => number;

/** Says what is wrong with the arguments together, and with which. */
type Together = (args: [number, number, number], call: Call) => void;

const written = (x: number): string => (Number.isInteger(x) ? `${x}.0` : `${x}`);

function form(params: readonly Number1[], integer: boolean, sample: Sampler, together?: Together): CallForm {
  const signature = params.map(({ name, fallback }): Param => {
    return fallback === undefined ? [name] : [name, written(fallback)];
  });
  const plan = (call: Call): Plan => {
    const read = ({ name, fallback, whole, conditions }: Number1): number =>
      whole === true ? call.int(name, fallback, ...conditions) : call.float(name, fallback, ...conditions);
    const [a = 0, b = 0, c = 0] = params.map(read);
    together?.([a, b, c], call);
    const length = call.count("size", 1);
    return {
      length,
      random: true,
      draw: ({ stream }) => {
        const values = new Float64Array(length);
        for (let i = 0; i < length; i++) values[i] = sample(stream, a, b, c);
        return integer ? integers(values) : floats(values);
      },
      warnings: [],
    };
  };
  return { params: [...signature, ["size", "None"]], plan };
}

const real = (params: readonly Number1[], sample: Sampler, together?: Together): CallForm =>
  form(params, false, sample, together);
const integral = (params: readonly Number1[], sample: Sampler, together?: Together): CallForm =>
  form(params, true, sample, together);

/** A range must be finite; low above high is a slip, numpy would draw from the range backwards. */
export function checkEnds(call: Call, low: number, high: number): void {
  if (!Number.isFinite(high - low)) call.fail("the range is too large", call.spanOf(["low", "high"]));
  if (low <= high) return;
  const rest = call.has("size") ? `, ${call.text("size")}` : "";
  const ends = call.has("low") ? [call.text("high"), call.text("low")] : [`${high}`, `${low}`];
  const turned = `${call.node.name}(${ends.join(", ")}${rest})`;
  const hint = call.has("high") ? turned : call.signature();
  call.fail("low is above high", call.spanOf(["low", "high"]), hint);
}

const uniform = real([or(0, p("low")), or(1, p("high"))], draw.uniform, ([low, high], call) => {
  checkEnds(call, low, high);
});

/** Samples bunch at the top when the range covers several orders of magnitude. */
function planUniform(call: Call): Plan {
  const plan = uniform.plan(call);
  const low = call.float("low", 0);
  const high = call.float("high", 1);
  if (!(low > 0 && high / low > 100)) return plan;
  const text = call.source.slice(call.node.span.start, call.node.span.end);
  const better = `log${text}`;
  const warning = `${text} covers more than two decades: about 90 % of its samples are above ${high / 10}; ${better} spreads them evenly over the decades`;
  return { ...plan, warnings: [warning] };
}

const LARGEST_POISSON = 2 ** 53;
const LAM: Condition = [(x) => x >= 0 && x < LARGEST_POISSON, "from 0 to 2**53"];

function checkTriangular([left, mode, right]: [number, number, number], call: Call): void {
  if (left > mode) call.fail("left is above mode", call.spanOf(["left", "mode"]), call.signature());
  if (mode > right) call.fail("mode is above right", call.spanOf(["mode", "right"]), call.signature());
  if (left === right)
    call.fail("left and right are the same", call.spanOf(["left", "right"]), call.signature());
}

function checkHypergeometric([good, bad, sample]: [number, number, number], call: Call): void {
  if (good + bad >= sample) return;
  call.fail("nsample is above ngood + nbad", call.span("nsample"), call.signature());
}

function checkNegativeBinomial([n, chance]: [number, number, number], call: Call): void {
  if ((n * (1 - chance)) / chance < 2 ** 50) return;
  call.fail("n * (1 - p) / p must be below 2**50", call.spanOf(["n", "p"]));
}

/** Numpy's legacy distributions with one number a sample, its names and its order of arguments. */
export const DISTRIBUTIONS: Readonly<Record<string, CallForm>> = {
  beta: real([p("a", POSITIVE), p("b", POSITIVE)], draw.beta),
  binomial: integral([whole("n", NOT_NEGATIVE), p("p", PROBABILITY)], binomial),
  chisquare: real([p("df", POSITIVE)], draw.chisquare),
  exponential: real([SCALE], draw.exponential),
  f: real([p("dfnum", POSITIVE), p("dfden", POSITIVE)], draw.f),
  gamma: real([p("shape", NOT_NEGATIVE), SCALE], draw.gamma),
  geometric: integral([p("p", GEOMETRIC)], geometric),
  gumbel: real([LOC, SCALE], draw.gumbel),
  hypergeometric: integral(
    [whole("ngood", NOT_NEGATIVE), whole("nbad", NOT_NEGATIVE), whole("nsample", ONE_OR_MORE)],
    hypergeometric,
    checkHypergeometric,
  ),
  laplace: real([LOC, SCALE], draw.laplace),
  logistic: real([LOC, SCALE], draw.logistic),
  lognormal: real([or(0, p("mean")), or(1, p("sigma", NOT_NEGATIVE))], draw.lognormal),
  logseries: integral([p("p", BELOW_ONE)], logseries),
  negative_binomial: integral([p("n", POSITIVE), p("p", CHANCE)], negativeBinomial, checkNegativeBinomial),
  noncentral_chisquare: real([p("df", POSITIVE), p("nonc", NOT_NEGATIVE)], draw.noncentralChisquare),
  noncentral_f: real([p("dfnum", POSITIVE), p("dfden", POSITIVE), p("nonc", NOT_NEGATIVE)], draw.noncentralF),
  normal: real([LOC, SCALE], draw.normal),
  pareto: real([p("a", POSITIVE)], draw.pareto),
  poisson: integral([or(1, p("lam", LAM))], poisson),
  power: real([p("a", POSITIVE)], draw.power),
  rayleigh: real([SCALE], draw.rayleigh),
  standard_cauchy: real([], draw.standardCauchy),
  standard_exponential: real([], draw.standardExponential),
  standard_gamma: real([p("shape", NOT_NEGATIVE)], draw.standardGamma),
  standard_normal: real([], (s) => s.gauss()),
  standard_t: real([p("df", POSITIVE)], draw.standardT),
  triangular: real([p("left"), p("mode"), p("right")], draw.triangular, checkTriangular),
  uniform: { params: uniform.params, plan: planUniform },
  vonmises: real([p("mu"), p("kappa", KAPPA)], draw.vonmises),
  wald: real([p("mean", POSITIVE), p("scale", POSITIVE)], draw.wald),
  weibull: real([p("a", NOT_NEGATIVE)], draw.weibull),
  zipf: integral([p("a", ZIPF)], zipf),
};
