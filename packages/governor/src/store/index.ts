export { BlobStore, type Store } from "./blob-store.ts";
export { RunStore } from "./run-store.ts";
export { Trees, TreeUses, type Tree } from "./trees.ts";
export { secureWorkdir } from "./workdir.ts";
