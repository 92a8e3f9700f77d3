import { linkSync, mkdirSync, readFileSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Grid } from "./grid.ts";

/**
 * Combinations handed out by files in a folder, for a program that runs outside of Rain: whoever makes the file of a
 * number first has it. Processes of one machine, or of several with one disk, share the folder.
 */
export function claim(folder: string, grid: Grid, count: number): number | undefined {
  const claims = join(folder, "claims");
  mkdirSync(claims, { recursive: true });
  checkSameGrid(folder, grid);
  for (let number = 0; number < count; number += 1) {
    if (make(join(claims, String(number).padStart(6, "0")), `${process.pid}\n`)) return number;
  }
  return undefined;
}

/** Numbers mean nothing in another grid. */
function checkSameGrid(folder: string, grid: Grid): void {
  const file = join(folder, "grid.json");
  const text = JSON.stringify(grid);
  if (make(file, text) || readFileSync(file, "utf8") === text) return;
  throw new Error(`pick: ${folder} was used with another grid (${file}); use another folder, or remove it`);
}

/** Makes a file, whole at once, if there is none; answers whether it was this call that made it. */
function make(path: string, text: string): boolean {
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, text);
  try {
    linkSync(draft, path);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
    throw error;
  } finally {
    unlinkSync(draft);
  }
}

export function appendLine(path: string, line: string): void {
  writeFileSync(path, `${line}\n`, { flag: "a" });
}
