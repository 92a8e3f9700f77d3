import { Buffer, isUtf8 } from "node:buffer";
import type { Dirent } from "node:fs";
import { lstat, readdir, readlink } from "node:fs/promises";
import type { Readable } from "node:stream";
import { RainError } from "../errors.ts";
import { limits } from "../limits.ts";
import { loadAll, type Item } from "./load.ts";
import { shown } from "./names.ts";
import type { TreeOptions } from "./types.ts";
import { writeTar } from "./write.ts";

/**
 * The canonical tar of `folder`. Links are kept as links, never followed. The stream fails with RainError("bad-request")
 * that names the entry: for a folder that is none, a link that leads out, a FIFO, device or socket, a name that is not
 * UTF-8, a file that changes while it is read; with "limit-exceeded" for too many entries.
 */
export function packTree(folder: string, options: TreeOptions = {}): Readable {
  return writeTar(loadAll(walk(folder)), options);
}

async function* walk(folder: string): AsyncGenerator<Item, void> {
  const found = await lstat(folder);
  if (found.isSymbolicLink())
    throw refused(folder, `is a symbolic link to ${shown(await readlink(folder))}; name that folder itself`);
  if (!found.isDirectory()) throw refused(folder, "is not a folder");
  yield* walkInto(folder, "", 1);
}

/** A folder's content comes after its own entry and after siblings like `folder.txt`: "." is before "/". */
interface Step {
  readonly key: Buffer;
  readonly name: string;
  readonly entry?: Dirent<Buffer>;
}

async function* walkInto(folder: string, prefix: string, depth: number): AsyncGenerator<Item, void> {
  if (depth > limits.pathDepth) throw refused(folder, `is deeper than ${limits.pathDepth} folders`);
  for (const { name, entry } of await steps(folder)) {
    const source = `${folder}/${name}`;
    const path = `${prefix}${name}`;
    if (entry === undefined) yield* walkInto(source, `${path}/`, depth + 1);
    else if (entry.isFile()) yield { path, kind: "file", source };
    else if (entry.isDirectory()) yield { path, kind: "directory" };
    else if (entry.isSymbolicLink()) yield { path, kind: "link", target: await targetOf(source, path) };
    else throw refused(path, `is ${kindOf(entry)}; only files, folders and symbolic links can be in a tree`);
  }
}

async function steps(folder: string): Promise<Step[]> {
  const found: Step[] = [];
  for (const entry of await readdir(folder, { withFileTypes: true, encoding: "buffer" })) {
    const name = entry.name.toString("utf8");
    if (!isUtf8(entry.name))
      throw refused(`${folder}/${name}`, "has a name that is not valid UTF-8; rename it");
    found.push({ key: entry.name, name, entry });
    if (entry.isDirectory()) found.push({ key: Buffer.from(`${name}/`), name });
  }
  return found.toSorted((a, b) => Buffer.compare(a.key, b.key));
}

async function targetOf(source: string, path: string): Promise<string> {
  const target = await readlink(source, { encoding: "buffer" });
  if (!isUtf8(target)) throw refused(path, "is a link whose target is not valid UTF-8");
  return target.toString("utf8");
}

function kindOf(entry: Dirent<Buffer>): string {
  if (entry.isFIFO()) return "a FIFO";
  if (entry.isSocket()) return "a socket";
  if (entry.isBlockDevice()) return "a block device";
  return entry.isCharacterDevice() ? "a character device" : "of an unknown kind";
}

const refused = (path: string, why: string): RainError =>
  new RainError("bad-request", `${shown(path)} ${why}`, { entry: path.slice(0, 300) });
