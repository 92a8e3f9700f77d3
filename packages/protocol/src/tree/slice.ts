import type { Buffer } from "node:buffer";
import { Readable } from "node:stream";
import { RainError } from "../errors.ts";
import { NearMisses } from "./near.ts";
import { linkProblem, pathProblem, shown } from "./names.ts";
import { keepErrors, readEntries } from "./read.ts";
import type { TreeOptions } from "./types.ts";
import { writeTar, type Ready } from "./write.ts";

/**
 * One part of a tree: the bytes of a file (`a/b`), or the canonical tar of what is in a folder (`a/b/`). Reads no further
 * than it must. The stream fails with RainError("bad-request") when there is no such file or folder, naming what is
 * spelled alike, or when a link in the folder leads out of it; and with what reading the tar fails with.
 */
export function sliceTree(source: Readable, path: string, options: TreeOptions = {}): Readable {
  keepErrors(source);
  if (path.endsWith("/")) return writeTar(folderIn(source, path.slice(0, -1), options), options);
  return Readable.from(fileIn(source, path, options), { objectMode: false });
}

async function* fileIn(source: Readable, path: string, options: TreeOptions): AsyncGenerator<Buffer, void> {
  checkPath(source, path);
  const near = new NearMisses(path);
  for await (const entry of readEntries(source, options)) {
    if (entry.path === path && entry.kind === "file") {
      yield* entry.body;
      return;
    }
    if (entry.path === path) throw notThat(path, entry.kind, entry.target);
    if (entry.path.startsWith(`${path}/`)) throw notThat(path, "directory", undefined);
    near.see(entry.path, entry.kind);
  }
  throw missing(path, "file", near);
}

async function* folderIn(
  source: Readable,
  folder: string,
  options: TreeOptions,
): AsyncGenerator<Ready, void> {
  checkPath(source, folder);
  const near = new NearMisses(folder);
  const prefix = `${folder}/`;
  let found = false;
  for await (const entry of readEntries(source, options)) {
    if (entry.path === folder && entry.kind !== "directory") throw notThat(prefix, entry.kind, entry.target);
    if (entry.path === folder || entry.path.startsWith(prefix)) found = true;
    // All paths that begin alike are neighbours.
    else if (found && !entry.path.startsWith(folder)) return;
    near.see(entry.path, entry.kind);
    for (const parent of entry.missing)
      if (parent.startsWith(prefix)) yield { path: parent.slice(prefix.length), kind: "directory" };
    if (!entry.path.startsWith(prefix)) continue;
    const path = entry.path.slice(prefix.length);
    if (entry.kind === "directory") yield { path, kind: "directory" };
    else if (entry.kind === "file")
      yield { path, kind: "file", executable: entry.executable, size: entry.size, data: entry.body };
    else yield { path, kind: "link", target: insideTarget(entry.path, path, entry.target ?? "", prefix) };
  }
  if (!found) throw missing(prefix, "folder", near);
}

function insideTarget(whole: string, path: string, target: string, prefix: string): string {
  const problem = linkProblem(path, target);
  if (problem === undefined) return target;
  const message = `${shown(prefix)} cannot be taken out of its tree: the link ${shown(whole)} in it points to ${shown(target)}, outside of that folder`;
  throw new RainError("bad-request", message, { entry: whole.slice(0, 300) });
}

function checkPath(source: Readable, path: string): void {
  const problem = pathProblem(path);
  if (problem === undefined) return;
  source.destroy();
  throw new RainError("bad-request", `${shown(path)} names no part of a tree: it ${problem}`);
}

function notThat(path: string, kind: string, target: string | undefined): RainError {
  const bare = path.replace(/\/$/, "");
  const what =
    kind === "link"
      ? `is a link to ${shown(target ?? "")}; take what it points to`
      : kind === "file"
        ? `is a file; write ${shown(bare)}`
        : `is a folder; write ${shown(`${bare}/`)}`;
  return new RainError("bad-request", `${shown(bare)} ${what}`, { path: bare.slice(0, 300) });
}

function missing(path: string, what: string, near: NearMisses): RainError {
  const alike = near.best.map(shown).join(", ");
  const hint = alike === "" ? "" : `; did you mean ${alike}?`;
  return new RainError("bad-request", `the tree has no ${what} ${shown(path)}${hint}`, {
    path: path.slice(0, 300),
  });
}
