import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "vite";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** A file of the sources knows its place by these, and the bundle lies elsewhere. */
const keepPlaces = {
  name: "keep-places",
  enforce: /** @type {const} */ ("pre"),
  transform(/** @type {string} */ code, /** @type {string} */ id) {
    if (!code.includes("import.meta.")) return null;
    const placed = code
      .replaceAll("import.meta.url", JSON.stringify(pathToFileURL(id).href))
      .replaceAll("import.meta.dirname", JSON.stringify(dirname(id)));
    return { code: placed, map: null };
  },
};

/**
 * Loads a module of the sources, without a build: as one bundle, which runs several times faster than modules that are
 * transformed one by one, whose every use of an import is a look-up. `close` removes it.
 * @param {string} path from the repository's root, as test/simulation/main.ts
 */
export async function loadSources(path) {
  const conditions = ["rain-source", "module", "node"];
  // Within node_modules, so that it finds packages, and vitest runs it as it is.
  const cache = join(root, "node_modules/.cache");
  await mkdir(cache, { recursive: true });
  const dir = await mkdtemp(join(cache, "rain-"));
  await build({
    root,
    configFile: false,
    logLevel: "error",
    plugins: [keepPlaces],
    resolve: { conditions },
    ssr: { resolve: { conditions } },
    build: {
      ssr: join(root, path),
      outDir: dir,
      minify: false,
      rolldownOptions: { output: { entryFileNames: "main.mjs" } },
    },
  });
  const loaded = await import(pathToFileURL(join(dir, "main.mjs")).href);
  return { loaded, close: () => rm(dir, { recursive: true, force: true }) };
}
