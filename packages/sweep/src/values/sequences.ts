import { exp } from "../libm/exp.ts";
import { log } from "../libm/log.ts";
import { pow } from "../libm/pow.ts";
import { fixed, floats, MAX_SAMPLES, type Plan } from "./axis.ts";
import type { Call, Param } from "./call.ts";
import { intValue } from "./value.ts";

export interface CallForm {
  readonly params: readonly Param[];
  /** Checks the arguments and plans the values. */
  readonly plan: (call: Call) => Plan;
}

/** start, stop and step of range and arange: one argument alone is the stop. */
const RANGE: readonly Param[] = [
  ["start", "0"],
  ["stop", "None"],
  ["step", "1"],
];

function checkLength(call: Call, length: number): void {
  if (length > MAX_SAMPLES) {
    call.fail(`${length} values, the limit is ${MAX_SAMPLES}`, call.node.span);
  }
}

function failEmpty(call: Call, start: string, stop: string, falls: boolean, step: string): never {
  const turned = falls
    ? `${call.node.name}(${start}, ${stop}, -1)`
    : `${call.node.name}(${stop}, ${start}, ${step})`;
  const hint = start === stop ? "write a stop beyond the start" : turned;
  return call.fail("this range is empty", call.node.span, hint);
}

/** range(stop) counts from 0. */
function needsStop(call: Call): void {
  if (call.has("start") || call.has("stop")) return;
  const end = call.node.span.end;
  const usage = `${call.node.name}(stop) or ${call.node.name}(start, stop, step)`;
  call.fail(`${call.node.name} needs stop`, { start: end - 1, end }, usage);
}

function range(call: Call): Plan {
  needsStop(call);
  const lone = !call.has("stop");
  const start = lone ? 0n : call.bigint("start");
  const stop = call.bigint(lone ? "start" : "stop");
  const step = call.has("step") ? call.bigint("step") : 1n;
  if (step === 0n) call.fail("step must not be 0", call.span("step"));
  const span = step > 0n ? stop - start : start - stop;
  const size = step > 0n ? step : -step;
  if (span <= 0n) failEmpty(call, `${start}`, `${stop}`, step > 0n && start > stop, `${step}`);
  const length = Number((span + size - 1n) / size);
  checkLength(call, length);
  return fixed({ length, at: (i) => intValue(start + BigInt(i) * step) });
}

function arange(call: Call): Plan {
  needsStop(call);
  const names = ["start", "stop", "step"];
  if (names.every((name) => !call.has(name) || call.value(name)?.kind === "int")) return range(call);
  const lone = !call.has("stop");
  const start = lone ? 0 : call.float("start");
  const stop = call.float(lone ? "start" : "stop");
  const step = call.float("step", 1, [(x) => x !== 0, "other than 0"]);
  const length = Math.ceil((stop - start) / step);
  if (!(length > 0))
    failEmpty(call, lone ? "0" : call.text("start"), call.text(lone ? "start" : "stop"), step > 0, "1");
  checkLength(call, length);
  const delta = start + step - start;
  return fixed(floats(Float64Array.from({ length }, (_, i) => (i === 1 ? start + step : start + i * delta))));
}

/** numpy's linspace. */
function spread(start: number, stop: number, count: number, endpoint: boolean): Float64Array {
  const parts = endpoint ? count - 1 : count;
  const delta = stop - start;
  const step = delta / parts;
  const values = Float64Array.from({ length: count }, (_, i) => {
    if (parts === 0) return start;
    return (step === 0 ? (i / parts) * delta : i * step) + start;
  });
  if (endpoint && count > 1) values[count - 1] = stop;
  return values;
}

const SPACE: readonly Param[] = [["start"], ["stop"], ["num", "50"], ["endpoint", "True"]];

function linspace(call: Call): Plan {
  const start = call.float("start");
  const stop = call.float("stop");
  if (!Number.isFinite(stop - start)) call.fail("the range is too large", call.spanOf(["start", "stop"]));
  return fixed(floats(spread(start, stop, call.count("num", 50), call.boolean("endpoint", true))));
}

function logspace(call: Call): Plan {
  const base = call.float("base", 10, [(x) => x > 0, "above 0"]);
  const exponents = spread(
    call.float("start"),
    call.float("stop"),
    call.count("num", 50),
    call.boolean("endpoint", true),
  );
  const values = exponents.map((x) => pow(base, x));
  if (values.some((x) => !Number.isFinite(x))) {
    const hint = "start and stop are exponents here; geomspace(start, stop, num) takes the values themselves";
    call.fail("the values are too large for a float", call.spanOf(["start", "stop"]), hint);
  }
  return fixed(floats(values));
}

function geomspace(call: Call): Plan {
  const start = call.float("start", undefined, [(x) => x !== 0, "other than 0"]);
  const stop = call.float("stop", undefined, [(x) => x !== 0, "other than 0"]);
  if (start < 0 !== stop < 0) {
    call.fail("start and stop must have the same sign", call.spanOf(["start", "stop"]));
  }
  const count = call.count("num", 50);
  const endpoint = call.boolean("endpoint", true);
  const sign = Math.sign(start);
  const exponents = spread(Math.log10(Math.abs(start)), Math.log10(Math.abs(stop)), count, endpoint);
  const values = exponents.map((x) => sign * pow(10, x));
  values[0] = start;
  if (endpoint && count > 1) values[count - 1] = stop;
  return fixed(floats(values));
}

export const SEQUENCES: Readonly<Record<string, CallForm>> = {
  range: { params: RANGE, plan: range },
  arange: { params: RANGE, plan: arange },
  linspace: { params: SPACE, plan: linspace },
  logspace: { params: [...SPACE, ["base", "10.0"]], plan: logspace },
  geomspace: { params: SPACE, plan: geomspace },
};

/** Where a share `u` of the way from low to high ends on a logarithmic scale, never outside. */
export function alongLog(low: number, high: number, u: number): number {
  const value = exp(log(low) + u * (log(high) - log(low)));
  return Math.min(high, Math.max(low, value));
}
