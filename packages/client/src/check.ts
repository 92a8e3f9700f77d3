import {
  checkRelativePath,
  contentType as contentTypeSchema,
  limits,
  RainError,
  type UserAttributes,
} from "@rain/protocol";

/** Checks of what users write. Each throws at once, and names the place (`what`), the rule and the value. */

/** A wrong use of the library, told apart from an error in it. */
export class UsageError extends TypeError {}
export const wrongType = (message: string): TypeError => new UsageError(message);
export const badRequest = (message: string): RainError => new RainError("bad-request", message);

/** A value as an error shows it, cut where it is long. */
export function show(value: unknown): string {
  if (typeof value === "string")
    return JSON.stringify(value.length > 100 ? `${value.slice(0, 100)}...` : value);
  if (typeof value === "object" && value !== null) {
    const name: unknown = Object.getPrototypeOf(value)?.constructor?.name;
    return Array.isArray(value) ? "a list" : `an object (${typeof name === "string" ? name : "no class"})`;
  }
  return typeof value === "function" ? "a function" : String(value);
}

/** Text that can travel: no NUL, valid as UTF-8, at most `max` bytes. */
export function checkText(what: string, value: unknown, max: number): string {
  if (typeof value !== "string") throw wrongType(`${what}: must be a string, not ${show(value)}`);
  if (value.includes("\0")) throw badRequest(`${what}: contains a NUL character: ${show(value)}`);
  if (/\p{Surrogate}/u.test(value))
    throw badRequest(`${what}: is not valid as UTF-8 (a lone surrogate): ${show(value)}`);
  // A character is at most 3 bytes a UTF-16 unit: short text need not be measured.
  if (value.length * 3 > max && Buffer.byteLength(value) > max) {
    throw new RainError(
      "limit-exceeded",
      `${what}: has ${Buffer.byteLength(value)} bytes; the limit is ${max}`,
    );
  }
  return value;
}

export const checkName = (what: string, value: unknown): string => checkText(what, value, limits.nameBytes);

export function checkLabel(what: string, value: unknown): string {
  const label = checkName(what, value);
  if (label === "") throw badRequest(`${what}: is empty`);
  return label;
}

export function checkPath(what: string, value: unknown): string {
  if (typeof value !== "string") throw wrongType(`${what}: must be a string, not ${show(value)}`);
  const problem = checkRelativePath(value);
  if (problem !== undefined) throw badRequest(`${what}: the path ${show(value)} ${problem}`);
  return checkText(what, value, limits.pathBytes);
}

export function checkContentType(what: string, value: unknown): string {
  if (typeof value !== "string") throw wrongType(`${what}: must be a string, not ${show(value)}`);
  const parsed = contentTypeSchema.safeParse(value);
  if (!parsed.success) throw badRequest(`${what}: ${show(value)} is not ${parsed.error.issues[0]?.message}`);
  return value;
}

/** Attributes of the user's own: a plain object of JSON values, at most `max` characters as JSON. */
export function checkUser(what: string, value: unknown, max: number = limits.userBytes): UserAttributes {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw wrongType(`${what}: must be an object of names and JSON values, not ${show(value)}`);
  checkJson(what, value, 0, max);
  const size = JSON.stringify(value).length;
  if (size > max)
    throw new RainError("limit-exceeded", `${what}: has ${size} characters as JSON; the limit is ${max}`);
  return structuredClone(value) as UserAttributes;
}

const MAX_DEPTH = 16;
function checkJson(what: string, value: unknown, depth: number, max: number): void {
  if (value === null || typeof value === "boolean") return;
  if (typeof value === "string") return void checkText(what, value, max * 4);
  if (typeof value === "number") {
    if (Number.isFinite(value)) return;
    throw badRequest(`${what}: ${value} has no form in JSON`);
  }
  const isPlain =
    Array.isArray(value) || (typeof value === "object" && isPlainPrototype(Object.getPrototypeOf(value)));
  if (!isPlain) throw wrongType(`${what}: must be a JSON value, not ${show(value)}`);
  if (depth === MAX_DEPTH) throw badRequest(`${what}: is nested deeper than ${MAX_DEPTH}`);
  for (const [name, each] of Object.entries(value as object)) {
    if (isForbiddenName(name)) throw badRequest(`${what}: the name ${show(name)} means something else`);
    checkText(what, name, limits.nameBytes);
    checkJson(`${what}.${name}`, each, depth + 1, max);
  }
}
const isPlainPrototype = (prototype: unknown): boolean =>
  prototype === null || prototype === Object.prototype;

/** A number from `min` to `max`, whole if `whole`. */
export function checkNumber(what: string, value: unknown, min: number, max: number, whole = false): number {
  if (typeof value !== "number") throw wrongType(`${what}: must be a number, not ${show(value)}`);
  if (!(value >= min && value <= max) || (whole && !Number.isInteger(value))) {
    throw badRequest(`${what}: must be a ${whole ? "whole " : ""}number from ${min} to ${max}, not ${value}`);
  }
  return value;
}

export function checkFlag(what: string, value: unknown): boolean {
  if (typeof value !== "boolean") throw wrongType(`${what}: must be true or false, not ${show(value)}`);
  return value;
}

/** Options are a plain record with known names: a misspelt option would otherwise be ignored. */
export function checkOptions(what: string, value: unknown, names: ReadonlySet<string>): void {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw wrongType(`${what}: the options must be an object, not ${show(value)}`);
  }
  for (const name of Object.keys(value)) {
    if (!names.has(name)) {
      throw wrongType(`${what}: unknown option ${show(name)}; known are ${[...names].join(", ")}`);
    }
  }
}

/** Names that no map of a message may have: in an object they mean something else. */
export const isForbiddenName = (name: string): boolean =>
  name === "__proto__" || name === "constructor" || name === "prototype";
