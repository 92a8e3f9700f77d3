import { lstatSync, readFileSync, readdirSync, readlinkSync, statSync, type Stats } from "node:fs";
import { dirname, isAbsolute, join, normalize } from "node:path";
import { execa } from "execa";
import ignore, { type Ignore } from "ignore";
import { exitCodes } from "../exit-codes.ts";
import { CommandError, usageError } from "../failure.ts";
import { formatBytes } from "../output.ts";

/** The project folder: which of its files travel with a run. */
export interface Project {
  /** Absolute. */
  readonly folder: string;
  /** Paths in it: files and links, and folders that have nothing in them. */
  readonly files: readonly string[];
  /** Bytes of all files. */
  readonly bytes: number;
  /** What stays behind although it was not asked to. */
  readonly notes: readonly string[];
}

const IGNORE_FILE = ".rainignore";
/** Never sent of a folder without git. */
const SKIPPED: ReadonlySet<string> = new Set([
  ".git",
  ".hg",
  ".svn",
  ".ipynb_checkpoints",
  ".mypy_cache",
  ".pytest_cache",
  ".tox",
  ".venv",
  "__pycache__",
  "node_modules",
  "venv",
]);
const MAX_BYTES = 2 * 1024 ** 3;
const SHOWN = 5;

/**
 * What travels of a folder: with git what is tracked, and what is not and is not ignored; else everything but folders
 * like .git and node_modules; less what `.rainignore` names.
 */
export async function readProject(folder: string, maxBytes: number = MAX_BYTES): Promise<Project> {
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true)
    throw usageError(`--localdir: there is no folder ${folder}`);
  const listed = (await gitFiles(folder)) ?? walk(folder, "");
  const excluded = readIgnored(folder);
  const files: string[] = [];
  const sizes = new Map<string, number>();
  const left: string[] = [];
  for (const path of listed) {
    if (excluded?.ignores(path) === true) continue;
    // Deleted here and still tracked: it is not part of the folder.
    const found = lstatSync(join(folder, path), { throwIfNoEntry: false });
    if (found === undefined) continue;
    const problem = problemOf(folder, path, found);
    if (problem !== undefined) left.push(`${path} (${problem})`);
    else files.push(path);
    if (problem === undefined && found.isFile()) sizes.set(path, found.size);
  }
  const bytes = [...sizes.values()].reduce((sum, size) => sum + size, 0);
  if (bytes > maxBytes) throw tooLarge(folder, bytes, sizes, maxBytes);
  return { folder, files, bytes, notes: left.length === 0 ? [] : [leftOut(left)] };
}

/** Is this a file of the folder that does not travel? */
export function isLeftBehind(project: Project, sent: ReadonlySet<string>, word: string): boolean {
  if (word === "" || isAbsolute(word) || word.includes("\0")) return false;
  const path = normalize(word).replace(/\/$/, "");
  if (path === "." || path.startsWith("..") || sent.has(path)) return false;
  const found = lstatSync(join(project.folder, path), { throwIfNoEntry: false });
  if (found === undefined) return false;
  return !found.isDirectory() || !project.files.some((file) => file.startsWith(`${path}/`));
}

/** What git would show, relative to the folder; undefined when the folder is not git's. */
async function gitFiles(folder: string): Promise<readonly string[] | undefined> {
  const git = async (...args: string[]): Promise<string | undefined> => {
    // The variables of a hook name another repository.
    const env = { GIT_DIR: undefined, GIT_WORK_TREE: undefined, GIT_INDEX_FILE: undefined };
    const result = await execa("git", args, {
      cwd: folder,
      env,
      reject: false,
      stripFinalNewline: false,
      maxBuffer: 1e9,
    });
    return result.exitCode === 0 ? result.stdout : undefined;
  };
  if ((await git("rev-parse", "--is-inside-work-tree"))?.trim() !== "true") return undefined;
  // A folder that git ignores as a whole has no files for it.
  if ((await git("check-ignore", "-q", ".")) !== undefined) return undefined;
  const listed = await git("ls-files", "-co", "--exclude-standard", "-z");
  if (listed === undefined)
    throw new CommandError(
      exitCodes.failed,
      `git ls-files failed in ${folder}; --localdir DIR names another`,
    );
  const paths = new Set(listed.split("\0").filter((path) => path !== ""));
  const files: string[] = [];
  for (const entry of paths) {
    const path = entry.replace(/\/$/, "");
    const isFolder = lstatSync(join(folder, path), { throwIfNoEntry: false })?.isDirectory() === true;
    if (!isFolder) files.push(path);
    // A submodule, or a repository inside this one.
    else for (const below of await nested(join(folder, path))) files.push(`${path}/${below}`);
  }
  return files;
}

const nested = async (folder: string): Promise<readonly string[]> =>
  (await gitFiles(folder)) ?? walk(folder, "");

function walk(folder: string, prefix: string): string[] {
  const entries = readdirSync(join(folder, prefix), { withFileTypes: true });
  if (entries.length === 0 && prefix !== "") return [prefix.slice(0, -1)];
  return entries.flatMap((entry) => {
    if (!entry.isDirectory()) return [`${prefix}${entry.name}`];
    return SKIPPED.has(entry.name) ? [] : walk(folder, `${prefix}${entry.name}/`);
  });
}

function readIgnored(folder: string): Ignore | undefined {
  try {
    return ignore().add(readFileSync(join(folder, IGNORE_FILE), "utf8"));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Why an entry cannot travel. */
function problemOf(folder: string, path: string, found: Stats): string | undefined {
  if (found.isFile() || found.isDirectory()) return undefined;
  if (!found.isSymbolicLink()) return "neither a file nor a folder";
  const target = readlinkSync(join(folder, path));
  const end = normalize(join(dirname(path), target));
  const isOutside = isAbsolute(target) || end === ".." || end.startsWith("../");
  return isOutside ? `a link to ${target}, outside the folder` : undefined;
}

function leftOut(left: readonly string[]): string {
  const more = left.length > SHOWN ? ` and ${left.length - SHOWN} more` : "";
  return `left out of the project folder: ${left.slice(0, SHOWN).join(", ")}${more}`;
}

/** Names the folders and files at the top that are the largest. */
function tooLarge(
  folder: string,
  bytes: number,
  sizes: ReadonlyMap<string, number>,
  maxBytes: number,
): CommandError {
  const tops = new Map<string, number>();
  for (const [path, size] of sizes) {
    const top = path.includes("/") ? `${path.split("/")[0]}/` : path;
    tops.set(top, (tops.get(top) ?? 0) + size);
  }
  const largest = [...tops]
    .toSorted((a, b) => b[1] - a[1])
    .slice(0, SHOWN)
    .map(([name, size]) => `${name} ${formatBytes(size)}`);
  return new CommandError(
    exitCodes.usage,
    `the project folder ${folder} has ${formatBytes(bytes)} to send; the limit is ${formatBytes(maxBytes)}. ` +
      `The largest: ${largest.join(", ")}. Name what is not needed in ${IGNORE_FILE} (written as .gitignore is), put data ` +
      "into a datastore (rain datastore create), or send another folder (--localdir DIR)",
    { folder, bytes, limit: maxBytes },
  );
}
