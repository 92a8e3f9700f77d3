import type * as simulation from "../../test/simulation/main.ts";

/** Modules that tests load. */
interface Sources {
  readonly "test/simulation/main.ts": typeof simulation;
}

/** Loads a module of the sources, bundled; `close` removes the bundle. `path` is from the repository's root. */
export function loadSources<Path extends keyof Sources>(
  path: Path,
): Promise<{ readonly loaded: Sources[Path]; readonly close: () => Promise<void> }>;
