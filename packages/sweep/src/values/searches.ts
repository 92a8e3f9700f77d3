import { SweepError } from "../errors.ts";
import { sobol, SOBOL_DIMENSIONS } from "../random/sobol.ts";
import { floats, type DrawContext, type Plan } from "./axis.ts";
import type { Call, Param } from "./call.ts";
import { checkEnds } from "./distributions.ts";
import { alongLog, type CallForm } from "./sequences.ts";

const PARAMS: readonly Param[] = [["low"], ["high"], ["size", "None"]];

/** The ends of a range, and where a share of the way from low to high lies. */
function scale(call: Call, logarithmic: boolean): (u: number) => number {
  const low = call.float("low");
  const high = call.float("high");
  if (logarithmic && low <= 0) {
    const hint = "write the values themselves, for example 1e-5, not their exponents";
    call.fail("low must be above 0", call.span("low"), hint);
  }
  checkEnds(call, low, high);
  return (u) => (logarithmic ? alongLog(low, high, u) : low + (high - low) * u);
}

function points({ stream, nextDimension }: DrawContext, count: number): Float64Array {
  const dimension = nextDimension();
  if (dimension !== undefined) return sobol(dimension, count, stream.word());
  throw new SweepError(`more than ${SOBOL_DIMENSIONS} flags with qmc or logqmc`, {
    hint: "use uniform or loguniform for the rest",
  });
}

function form(logarithmic: boolean, shares: (context: DrawContext, count: number) => Float64Array): CallForm {
  const plan = (call: Call): Plan => {
    const place = scale(call, logarithmic);
    const length = call.count("size", 1);
    const draw = (context: DrawContext) => floats(shares(context, length).map(place));
    return { length, random: true, draw, warnings: [] };
  };
  return { params: PARAMS, plan };
}

const independent = ({ stream }: DrawContext, count: number): Float64Array =>
  Float64Array.from({ length: count }, () => stream.double());

/** Our own: even over the logarithm, and quasi-random (Sobol) points. */
export const SEARCHES: Readonly<Record<string, CallForm>> = {
  loguniform: form(true, independent),
  qmc: form(false, points),
  logqmc: form(true, points),
};
