/** What a directory object may hold. A link is symbolic, relative, and stays inside the tree. */
export type EntryKind = "file" | "directory" | "link";

/** One entry to pack. `path` is relative to the tree, with `/` between names and none at its ends. */
export type TreeEntry =
  | {
      readonly path: string;
      readonly kind: "file";
      /** Path of a plain file on this machine whose bytes these are. */
      readonly source: string;
      readonly executable: boolean;
      /** Only this part of `source`, in bytes: so that a file can come out of another tree's tar without unpacking it. */
      readonly part?: { readonly start: number; readonly size: number } | undefined;
    }
  | { readonly path: string; readonly kind: "directory" }
  | { readonly path: string; readonly kind: "link"; readonly target: string };

/** One entry of a tree, as its tar says it. */
export interface ListedEntry {
  readonly path: string;
  readonly kind: EntryKind;
  /** Bytes of a file; 0 for others. */
  readonly size: number;
  readonly executable: boolean;
  /** Where a link points, relative to the folder it is in. */
  readonly target?: string | undefined;
  /** Where a file's bytes begin in the tar. */
  readonly offset: number;
}

/** The outer envelope of a directory object: size and SHA-256 (lower-case hex) of its tar. */
export interface TreeEnvelope {
  readonly size: number;
  readonly sha256: string;
}

/** What a tar must be: without `sha256` when somebody has checked its digest already. */
export interface ExpectedTree {
  readonly size: number;
  readonly sha256?: string | undefined;
}

/** Bounds of packing and reading a tree. Sizes are bytes. */
export interface TreeLimits {
  readonly entries: number;
  /** The whole tar. */
  readonly bytes: number;
  /** Extended (PAX) header of one entry. */
  readonly paxBytes: number;
  /** Paths and targets of all links together: they are held in memory until the files are there. */
  readonly linkBytes: number;
  /** Longest time without progress, milliseconds. */
  readonly idleMs: number;
  /** Free space that extraction leaves on the file system; absent: 5 % of it, at most 1 GiB. */
  readonly reserveBytes?: number | undefined;
}
export const treeLimits: TreeLimits = {
  entries: 1_000_000,
  bytes: 2 ** 50,
  paxBytes: 65_536,
  linkBytes: 67_108_864,
  idleMs: 60_000,
};
export type TreeOptions = Partial<TreeLimits>;
