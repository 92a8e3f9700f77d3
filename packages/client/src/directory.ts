import { createHash } from "node:crypto";
import {
  lstatSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  statSync,
  type Dirent,
  type Stats,
} from "node:fs";
import { basename, isAbsolute, join, resolve } from "node:path";
import type { Readable } from "node:stream";
import { asDigest, limits, RainError, type UserAttributes } from "@rain/protocol";
import { packEntries, packTree, type TreeEntry } from "@rain/protocol/tree";
import { badRequest, checkName, checkOptions, checkPath, checkUser, show, wrongType } from "./check.ts";
import { DataObject, nameObject, newRecord, recordOf } from "./data-object.ts";
import { Spool } from "./spool.ts";

export interface DirectoryOptions {
  /** Default: the folder's name. */
  readonly label?: string | undefined;
  /** Attributes of your own: JSON values by name. They are in the object's `spec`. */
  readonly user?: UserAttributes | undefined;
  /**
   * Only these paths of the folder, relative to it: files, links, and folders, of which only the folder itself is
   * meant. Folders above them are added. Default: all that is in it.
   */
  readonly files?: readonly string[] | undefined;
}
const optionNames = new Set(["label", "user", "files"]);

/**
 * A constant of a folder of this machine, with all that is in it or the `files` that are named: files (with their executable bit), empty folders,
 * and symbolic links that stay inside. It is read at the submit: leave it unchanged until then. Usable wherever a data
 * object is, in one session.
 */
export function directory(path: string, options: DirectoryOptions = {}): DataObject {
  if (typeof path !== "string") throw wrongType(`directory: the path must be a string, not ${show(path)}`);
  checkOptions("directory", options, optionNames);
  const { files } = options;
  const folder = checkFolder(resolve(path), path);
  if (files === undefined) checkContent(folder);
  const label =
    options.label === undefined ? basename(resolve(path)) : checkName("directory: label", options.label);
  const user = options.user === undefined ? undefined : checkUser("directory: user", options.user);
  const entries = files && readFiles(folder, files);
  return new DataObject(newRecord({ kind: "directory", label, contentType: "", folder, entries, user }));
}

/** Where the folder is, past all links. */
function checkFolder(folder: string, path: string): string {
  const found = statSync(folder, { throwIfNoEntry: false });
  if (!found) throw badRequest(`directory: ${show(path)} does not exist`);
  if (!found.isDirectory()) throw badRequest(`directory: ${show(path)} is not a folder; use blob for a file`);
  return realpathSync(folder);
}

/** Finds out now what would be refused at the submit. */
function checkContent(folder: string): void {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile() || entry.isDirectory()) continue;
    const place = join(entry.parentPath, entry.name);
    const problem = entry.isSymbolicLink() ? linkProblem(place) : `is ${kindOf(entry)}`;
    if (problem !== undefined) throw badRequest(`directory: ${show(place)} ${problem}; it cannot be sent`);
  }
}

/** What the named paths are, as entries of the tree. */
function readFiles(folder: string, files: unknown): readonly TreeEntry[] {
  if (!Array.isArray(files)) throw wrongType(`directory: files: must be a list of paths, not ${show(files)}`);
  return [...new Set(files.map((path) => checkPath("directory: files", path)))].map((path) => {
    const place = join(folder, path);
    const found = lstatSync(place, { throwIfNoEntry: false });
    if (!found) throw badRequest(`directory: files: ${show(place)} does not exist`);
    return treeEntry(path, place, found);
  });
}

function treeEntry(path: string, place: string, found: Stats): TreeEntry {
  if (found.isDirectory()) return { path, kind: "directory" };
  if (found.isFile()) return { path, kind: "file", source: place, executable: (found.mode & 0o111) !== 0 };
  const problem = found.isSymbolicLink() ? linkProblem(place) : `is ${kindOf(found)}`;
  if (problem !== undefined) throw badRequest(`directory: ${show(place)} ${problem}; it cannot be sent`);
  return { path, kind: "link", target: readlinkSync(place) };
}

function linkProblem(place: string): string | undefined {
  const target = readlinkSync(place);
  return isAbsolute(target) ? `is a link to ${show(target)}, outside the folder` : undefined;
}

function kindOf(entry: Dirent | Stats): string {
  if (entry.isFIFO()) return "a FIFO";
  return entry.isSocket() ? "a socket" : "a device";
}

/** Packs the folders of these constants that are not packed yet: from then on they have their bytes and digest. */
export async function packFolders(objects: readonly DataObject[]): Promise<void> {
  for (const object of objects) {
    const record = recordOf(object);
    if (record.folder === undefined || record.info) continue;
    const tar = record.entries ? packEntries(record.entries) : packTree(record.folder);
    const { content, size, sha256 } = await pack(object, tar);
    record.content = content;
    record.info = { size, sha256: asDigest(sha256), contentType: "" };
  }
}

async function pack(
  object: DataObject,
  tar: Readable,
): Promise<{ content: Uint8Array | Spool; size: number; sha256: string }> {
  const spool = new Spool();
  try {
    const hash = createHash("sha256");
    let size = 0;
    for await (const chunk of tar as AsyncIterable<Buffer>) {
      hash.update(chunk);
      await spool.writeAt(chunk, size);
      size += chunk.length;
    }
    await spool.flush();
    const sha256 = hash.digest("hex");
    if (size > limits.inlineBytes) return { content: spool, size, sha256 };
    const content = spool.readAll();
    await spool.close();
    return { content, size, sha256 };
  } catch (error) {
    await spool.close();
    if (!(error instanceof RainError)) throw error;
    throw new RainError(error.code, `${nameObject(object)}: ${error.message}`, error.facts, { cause: error });
  }
}
