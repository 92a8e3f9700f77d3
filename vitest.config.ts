import { defineConfig } from "vitest/config";

// Tests run on the sources, without a build: the condition picks src/*.ts in each package's exports.
const conditions = ["rain-source", "module", "node", "development|production"];
const report = process.env["RAIN_TEST_REPORT"];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ["test/**/*.test.ts"],
    // All cpus: many tests wait for processes more than they compute.
    maxWorkers: "100%",
    // For tests that hang, not for slow machines: no result may depend on how fast the machine is.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    reporters: report === undefined ? ["default"] : ["default", ["json", { outputFile: report }]],
  },
});
