import { constants } from "node:fs";
import { open } from "node:fs/promises";
import {
  limits,
  userAttributes,
  type OutputReport,
  type OutputSpec,
  type TaskInfo,
  type UserAttributes,
} from "@rain/protocol";
import { errorCode } from "../monitor/errno.ts";

/** What a program told about its run in the file that RAIN_INFO names. */
export interface Attributes {
  readonly info: Pick<TaskInfo, "user" | "debug">;
  /** By the label of the output. */
  readonly outputs: Readonly<Record<string, UserAttributes>>;
}

const MAX_BYTES = 1_048_576;
const nothing: Attributes = { info: {}, outputs: {} };
const known = new Set(["user", "debug", "outputs"]);

/**
 * Reads `{ "user": {...}, "debug": "text", "outputs": { "label": {...} } }`, all of it optional. A file that is not of
 * that form does not fail the task: what is wrong stands in `debug`.
 */
export async function readAttributes(path: string): Promise<Attributes> {
  const text = await readText(path);
  if (text === undefined) return nothing;
  try {
    return parse(text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    // The reason may quote the file, which may hold anything.
    return { info: { debug: noteOf(`the file of RAIN_INFO is not used: ${why}`) }, outputs: {} };
  }
}

/** The reports with the attributes of their labels. */
export function withAttributes(
  outputs: readonly OutputSpec[],
  reports: readonly OutputReport[],
  attributes: Attributes["outputs"],
): readonly OutputReport[] {
  if (Object.keys(attributes).length === 0) return reports;
  return reports.map((report, index) => {
    const label = outputs[index]?.label ?? "";
    const user = Object.hasOwn(attributes, label) ? attributes[label] : undefined;
    return user === undefined ? report : { ...report, user };
  });
}

async function readText(path: string): Promise<string | undefined> {
  const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const file = await open(path, flags).catch((error: unknown) => {
    if (errorCode(error) === "ENOENT") return undefined;
    if (errorCode(error) === "ELOOP") return undefined; // a link: nobody's file
    throw error;
  });
  if (file === undefined) return undefined;
  try {
    const found = await file.stat();
    if (!found.isFile()) return "it is no file";
    return found.size > MAX_BYTES ? `it has more than ${MAX_BYTES} bytes` : await file.readFile("utf8");
  } finally {
    await file.close();
  }
}

function parse(text: string): Attributes {
  const value: unknown = JSON.parse(text);
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error("it is no object");
  const { user, debug, outputs = {} } = value as Record<string, unknown>;
  const stranger = Object.keys(value).find((name) => !known.has(name));
  if (stranger !== undefined)
    throw new Error(`it has ${JSON.stringify(stranger)}; known are user, debug, outputs`);
  if (debug !== undefined && typeof debug !== "string") throw new Error("debug is no text");
  if (typeof outputs !== "object" || outputs === null) throw new Error("outputs is no object");
  return {
    info: {
      ...(user !== undefined && { user: readUser("user", user) }),
      ...(debug !== undefined && { debug: noteOf(debug) }),
    },
    outputs: Object.fromEntries(
      Object.entries(outputs).map(([label, given]) => [label, readUser(`outputs.${label}`, given)]),
    ),
  };
}

/** Attributes that fit a message. Throws what is wrong. */
export function readUser(what: string, value: unknown): UserAttributes {
  const parsed = userAttributes.safeParse(value);
  if (parsed.success && !hasForbiddenName(value)) return parsed.data;
  const why = parsed.error?.issues[0]?.message ?? "a name means something else in an object";
  throw new Error(`${what}: ${why}`);
}

/** Names that no map of a message may have. */
function hasForbiddenName(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  return Object.entries(value).some(
    ([name, each]) => /^(__proto__|constructor|prototype)$/.test(name) || hasForbiddenName(each),
  );
}

/** Text that fits a message: NUL and halves of characters go, and what is too long is cut. */
export const noteOf = (debug: string): string =>
  debug
    .slice(0, limits.debugBytes)
    .replaceAll("\0", "")
    .replace(/\p{Surrogate}/gu, "");
