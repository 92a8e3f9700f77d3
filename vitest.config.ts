import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";
import { BaseSequencer, type TestSpecification } from "vitest/node";

// Tests run on the sources, without a build: the condition picks src/*.ts in each package's exports.
const conditions = ["rain-source", "module", "node", "development|production"];
const report = process.env["RAIN_TEST_REPORT"];

/** Those that take minutes, the longest first: started last, they would run alone at the end. */
const long = ["seeds-1", "chaos", "seeds-2", "chaos-network", "bugs", "kill-many", "sweep-examples", "fuzz"];

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const place = ({ moduleId }: TestSpecification): number => {
      const at = long.findIndex((name) => moduleId.endsWith(`/${name}.test.ts`));
      return at < 0 ? long.length : at;
    };
    // oxlint-disable-next-line unicorn/no-array-sort -- not an array's
    const sorted = await super.sort(files);
    return sorted.toSorted((a, b) => place(a) - place(b));
  }
}

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ["test/**/*.test.ts"],
    // One more than cpus: many tests wait for processes more than they compute.
    maxWorkers: availableParallelism() + 1,
    sequence: { sequencer: LongestFirst },
    // For tests that hang, not for slow machines: no result may depend on how fast the machine is.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    reporters: report === undefined ? ["default"] : ["default", ["json", { outputFile: report }]],
  },
});
