import { Buffer } from "node:buffer";
import { limits } from "../limits.ts";

/** A name as errors show it: quoted, control characters escaped, of bounded length. */
export const shown = (name: string): string =>
  JSON.stringify(name.length > 300 ? `${name.slice(0, 300)}...` : name);

/** Which rule of names the path of an entry breaks; undefined when none. */
export function pathProblem(path: string): string | undefined {
  if (path === "") return "has no name";
  if (path.startsWith("/")) return "has an absolute name";
  const bad = textProblem(path);
  if (bad !== undefined) return bad;
  const parts = path.split("/");
  if (parts.length > limits.pathDepth) return `is deeper than ${limits.pathDepth} folders`;
  for (const part of parts) {
    if (part === "..") return "has '..' in its name";
    if (part === "." || part === "") return "has an empty or '.' component in its name";
    if (Buffer.byteLength(part) > limits.pathComponentBytes)
      return `has a component of more than ${limits.pathComponentBytes} bytes in its name`;
  }
  return undefined;
}

/**
 * Why a link at `path` may not point to `target`; undefined when it may. `..` is allowed only at the start: there it
 * climbs through the link's real parents, and can be counted. After a name it would climb from wherever that name
 * leads, which may be another link.
 */
export function linkProblem(path: string, target: string): string | undefined {
  if (target === "") return "has no target";
  if (target.startsWith("/"))
    return "has an absolute target; only relative ones inside the tree are accepted";
  const bad = textProblem(target);
  if (bad !== undefined) return `has a target that ${bad}`;
  let height = path.split("/").length - 1;
  let named = false;
  for (const part of target.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") named = true;
    else if (named) return "has '..' after a name in its target, which may lead out of the tree";
    else if (--height < 0) return "leads out of the tree";
    if (Buffer.byteLength(part) > limits.pathComponentBytes)
      return `has a component of more than ${limits.pathComponentBytes} bytes in its target`;
  }
  return undefined;
}

function textProblem(text: string): string | undefined {
  if (text.includes("\0")) return "contains a NUL character";
  if (text.includes("\\")) return "contains a backslash";
  if (/\p{Surrogate}/u.test(text)) return "is not valid as UTF-8";
  if (Buffer.byteLength(text) > limits.pathBytes) return `is longer than ${limits.pathBytes} bytes`;
  return undefined;
}

/** The folder that holds `path`; "" is the tree itself. */
export const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf("/")));
