export { BlobStore, type Store, type Stored } from "./blob-store.ts";
export { RunStore } from "./run-store.ts";
export { Trees, TreeUses } from "./trees.ts";
