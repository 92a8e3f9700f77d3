import { accessSync, constants, statSync } from "node:fs";
import { delimiter, extname, isAbsolute, join, relative, resolve, sep } from "node:path";
import { usageError } from "../failure.ts";

/** How a trial starts the program. */
export interface ProgramWords {
  /** The words before the program's arguments: `["python3", "train.py"]`. */
  readonly words: readonly string[];
  /** Its place in the project folder; undefined for one that is elsewhere. */
  readonly file: string | undefined;
}

/** Where a program is looked for. */
export interface ProgramPlaces {
  readonly cwd: string;
  /** The project folder, absolute; undefined when none travels. */
  readonly folder: string | undefined;
  /** PATH of this machine; undefined when programs are those of an environment of the governors. */
  readonly path: string | undefined;
}

const interpreters: Readonly<Record<string, string>> = {
  ".py": "python3",
  ".js": "node",
  ".mjs": "node",
  ".cjs": "node",
  ".ts": "node",
  ".sh": "sh",
};

/**
 * What PROGRAM means: a `.py` file runs under python3, a `.js`, `.mjs`, `.cjs` or `.ts` file under node, a `.sh` file under
 * sh; anything else is executed. It must be there: in the project folder, or on PATH.
 */
export function resolveProgram(program: string, places: ProgramPlaces): ProgramWords {
  if (program === "" || program.includes("\0")) throw usageError("PROGRAM is empty");
  const interpreter = interpreters[extname(program)];
  const found = findFile(program, places);
  if (interpreter !== undefined) {
    if (found === undefined) throw missing(program, places);
    return { words: [interpreter, found.word], file: found.file };
  }
  const isPath = program.includes("/");
  if (!isPath && isOnPath(program, places)) return { words: [program], file: undefined };
  if (found === undefined) throw missing(program, places);
  if (!isExecutable(found.path))
    throw usageError(
      `${program} is not executable: chmod +x ${program}, or name its interpreter: rain run ... python3 ${program}`,
    );
  const word = found.file === undefined || found.word.includes("/") ? found.word : `./${found.word}`;
  return { words: [word], file: found.file };
}

interface FoundFile {
  readonly path: string;
  /** How it is named from the trial's folder. */
  readonly word: string;
  readonly file: string | undefined;
}

/** The file, from the project folder first, then from here. */
function findFile(program: string, { cwd, folder }: ProgramPlaces): FoundFile | undefined {
  const path = [folder, cwd]
    .filter((base) => base !== undefined)
    .map((base) => resolve(base, program))
    .find(isFile);
  if (path === undefined) return undefined;
  const inside = folder === undefined ? undefined : relative(folder, path);
  const isInside = inside !== undefined && !isAbsolute(inside) && inside.split(sep)[0] !== "..";
  return isInside ? { path, word: inside, file: inside } : { path, word: path, file: undefined };
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return isFile(path);
  } catch {
    return false; // it is not there, or its mode says no
  }
}

function isOnPath(program: string, { path }: ProgramPlaces): boolean {
  if (path === undefined) return true;
  return path
    .split(delimiter)
    .filter((folder) => isAbsolute(folder))
    .some((folder) => isExecutable(join(folder, program)));
}

function missing(program: string, { cwd, folder }: ProgramPlaces): Error {
  const where = folder === undefined || folder === cwd ? cwd : `${folder} nor in ${cwd}`;
  const isScript = interpreters[extname(program)] !== undefined;
  const orPath = isScript || program.includes("/") ? "" : ", nor is it a program on PATH";
  return usageError(
    `there is no file ${JSON.stringify(program)} in ${where}${orPath}: name the program that each trial runs; ` +
      "flags of rain run come before it, its own arguments after it",
  );
}
