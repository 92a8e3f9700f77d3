/**
 * Directories as data objects. A directory's bytes are one canonical tar stream: sorted by path, without times, owners
 * and names, modes 0755 and 0644 only, so that equal trees have equal bytes and one SHA-256.
 */
export * from "./types.ts";
export { packTree } from "./walk.ts";
export { packEntries } from "./entries.ts";
export { packToFile, type PackedTree } from "./file.ts";
export { extractTree, type ExtractedTree } from "./extract.ts";
export { linkProblem, pathProblem } from "./names.ts";
export { listTree } from "./list.ts";
export { sliceTree } from "./slice.ts";
