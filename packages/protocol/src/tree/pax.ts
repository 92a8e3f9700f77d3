import { type Buffer, isUtf8 } from "node:buffer";

/** Keys that say nothing about where or how large a file is, and are ignored. All keys but these and the three are refused. */
const ignored = new Set(["mtime", "atime", "ctime", "uid", "gid", "uname", "gname", "comment"]);

export interface PaxRecords {
  readonly path?: string;
  readonly linkpath?: string;
  readonly size?: number;
}

/**
 * Reads the records of an extended header: `LENGTH KEY=VALUE\n` each. Stricter than tar-stream, which stops silently at
 * a malformed one, takes `1e9` as a size of 1, and replaces bytes that are not UTF-8. Answers what is wrong as text.
 */
export function readPax(bytes: Buffer): PaxRecords | string {
  const found: { path?: string; linkpath?: string; size?: number } = {};
  const seen = new Set<string>();
  for (let at = 0; at < bytes.length;) {
    const space = bytes.indexOf(0x20, at);
    const digits = bytes.toString("latin1", at, Math.min(space, at + 8));
    const length = /^[1-9][0-9]{0,6}$/.test(digits) && space === at + digits.length ? Number(digits) : 0;
    const end = at + length;
    if (length === 0 || end > bytes.length || end <= space + 1 || bytes[end - 1] !== 0x0a)
      return "has a malformed extended header";
    const raw = bytes.subarray(space + 1, end - 1);
    if (!isUtf8(raw)) return "has an extended header that is not valid UTF-8";
    const record = raw.toString("utf8");
    const equals = record.indexOf("=");
    if (equals < 1) return "has a malformed extended header";
    const key = record.slice(0, equals);
    const problem = seen.has(key) ? "twice" : take(found, key, record.slice(equals + 1));
    if (problem !== undefined)
      return `has the extended header key ${JSON.stringify(key.slice(0, 100))} ${problem}`;
    seen.add(key);
    at = end;
  }
  return found;
}

function take(
  found: { path?: string; linkpath?: string; size?: number },
  key: string,
  value: string,
): string | undefined {
  if (ignored.has(key)) return undefined;
  if (key === "size") {
    if (!/^[0-9]{1,15}$/.test(value)) return `with ${JSON.stringify(value.slice(0, 40))}, which is no size`;
    found.size = Number(value);
    return undefined;
  }
  if (key !== "path" && key !== "linkpath") return "which is not supported";
  if (value === "") return "without a value";
  if (value.includes("\0")) return "with a NUL character";
  found[key] = value;
  return undefined;
}
