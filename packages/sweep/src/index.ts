export { renderError, SweepError, type Span } from "./errors.ts";
export { nearMisses, oneOf } from "./near.ts";
export {
  DEFAULT_MAX_TRIALS,
  expand,
  STRATEGIES,
  type Parameter,
  type Strategy,
  type Sweep,
  type SweepOptions,
} from "./plan/expand.ts";
export { readFlags, type SweepFlag } from "./plan/flags.ts";
export type { Trial, Trials } from "./plan/trials.ts";
export { MAX_SEED } from "./random/mt19937.ts";
export { Stream } from "./random/stream.ts";
export type { Argument, BinaryOperator, CompareOperator, Node } from "./syntax/ast.ts";
export { parseExpression } from "./syntax/parser.ts";
export { printExpression } from "./syntax/print.ts";
export { MAX_SAMPLES, type Axis, type DrawContext, type Plan } from "./values/axis.ts";
export { FUNCTION_NAMES } from "./values/functions.ts";
export { isSweepSyntax, parseValue, type ParsedValue } from "./values/parse-value.ts";
export { floatRepr, toParam, toText, type ParamValue, type Value } from "./values/value.ts";
