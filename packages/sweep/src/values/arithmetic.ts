import { pow } from "../libm/pow.ts";
import type { BinaryOperator } from "../syntax/ast.ts";
import { floatValue, kindName, type Value } from "./value.ts";

/** What went wrong, for a message with the place added. */
export interface Problem {
  readonly error: string;
}

/** Bits of the largest whole number that a power may give. */
const MAX_BITS = 4096;

/** A number of either kind, with True and False as 1 and 0; undefined for what is no number. */
function numeric(value: Value): bigint | number | undefined {
  if (value.kind === "int" || value.kind === "float") return value.value;
  return value.kind === "bool" ? (value.value ? 1n : 0n) : undefined;
}

/** -value or +value. */
export function negate(minus: boolean, value: Value): Value | Problem {
  const x = numeric(value);
  if (typeof x === "bigint") return { kind: "int", value: minus ? -x : x };
  if (x !== undefined) return floatValue(minus ? -x : x);
  return { error: `${minus ? "-" : "+"} needs a number, this is ${kindName(value)}` };
}

/** left operator right, as Python computes it. */
export function arithmetic(operator: BinaryOperator, left: Value, right: Value): Value | Problem {
  if (operator === "+" && left.kind === "str" && right.kind === "str") {
    return { kind: "str", value: left.value + right.value };
  }
  const a = numeric(left);
  const b = numeric(right);
  if (a === undefined || b === undefined) {
    return { error: `${operator} needs two numbers, these are ${kindName(left)} and ${kindName(right)}` };
  }
  if (typeof a === "bigint" && typeof b === "bigint") return onIntegers(operator, a, b);
  return onFloats(operator, Number(a), Number(b));
}

const integer = (value: bigint): Value => ({ kind: "int", value });
const isZeroDivision = (operator: BinaryOperator): boolean => ["/", "//", "%"].includes(operator);

function onIntegers(operator: BinaryOperator, a: bigint, b: bigint): Value | Problem {
  if (b === 0n && isZeroDivision(operator)) return { error: "division by zero" };
  switch (operator) {
    case "+":
      return integer(a + b);
    case "-":
      return integer(a - b);
    case "*":
      return integer(a * b);
    case "/":
      return floatValue(Number(a) / Number(b));
    case "//":
      return integer((a - floorRemainder(a, b)) / b);
    case "%":
      return integer(floorRemainder(a, b));
    case "**":
      return integerPower(a, b);
  }
}

const floorRemainder = (a: bigint, b: bigint): bigint => ((a % b) + b) % b;

function integerPower(a: bigint, b: bigint): Value | Problem {
  if (b < 0n) return onFloats("**", Number(a), Number(b));
  const bits = BigInt((a < 0n ? -a : a).toString(2).length) * b;
  const small = a === 0n || a === 1n || a === -1n;
  if (bits > MAX_BITS && !small) return { error: `the power has more than ${MAX_BITS} bits` };
  return integer(a ** b);
}

function onFloats(operator: BinaryOperator, a: number, b: number): Value | Problem {
  if (b === 0 && isZeroDivision(operator)) return { error: "division by zero" };
  switch (operator) {
    case "+":
      return floatValue(a + b);
    case "-":
      return floatValue(a - b);
    case "*":
      return floatValue(a * b);
    case "/":
      return floatValue(a / b);
    case "//":
      return floatValue(floorDivide(a, b));
    case "%":
      return floatValue(floatRemainder(a, b));
    case "**":
      return floatPower(a, b);
  }
}

/** Takes the sign of b, as Python's does. */
function floatRemainder(a: number, b: number): number {
  const rest = a % b;
  if (rest === 0) return b < 0 ? -0 : 0;
  return rest < 0 === b < 0 ? rest : rest + b;
}

function floorDivide(a: number, b: number): number {
  const quotient = (a - floatRemainder(a, b)) / b;
  const floor = Math.floor(quotient);
  return quotient - floor > 0.5 ? floor + 1 : floor;
}

function floatPower(a: number, b: number): Value | Problem {
  if (a === 0 && b < 0) return { error: "0 cannot be raised to a negative power" };
  if (a < 0 && Number.isFinite(a) && !Number.isInteger(b)) {
    return { error: "a negative number to a fractional power is not a real number" };
  }
  const result = pow(a, b);
  const overflow = !Number.isFinite(result) && Number.isFinite(a) && Number.isFinite(b);
  return overflow ? { error: "the power is too large for a float" } : floatValue(result);
}
