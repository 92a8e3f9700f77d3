import { fileURLToPath } from "node:url";
import { createViteServer } from "vitest/node";

/**
 * Loads a module of the sources, without a build. `close` ends what that needs.
 * @param {string} path from the repository's root, as /test/simulation/main.ts
 */
export async function loadSources(path) {
  const conditions = ["rain-source", "module", "node", "development|production"];
  const server = await createViteServer({
    root: fileURLToPath(new URL("../..", import.meta.url)),
    configFile: false,
    logLevel: "error",
    appType: "custom",
    server: { middlewareMode: true, hmr: false, ws: false, watch: null },
    optimizeDeps: { noDiscovery: true },
    resolve: { conditions },
    ssr: { resolve: { conditions } },
  });
  const loaded = await server.ssrLoadModule(path);
  return { loaded, close: () => server.close() };
}
