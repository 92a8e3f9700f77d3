import { runHistory, type HistoryResult } from "./history.ts";

/** What `scripts/simulate.mjs` and the tests run: one history, or many with a summary. Lines go to `print`. */
export { runHistory };

interface Summary {
  readonly histories: number;
  readonly faults: number;
  readonly events: number;
  /** Seeds that broke a rule. */
  readonly broken: readonly number[];
  readonly seconds: number;
}
type Print = (line: string) => void;

export function describeFailure(result: HistoryResult): string {
  const { seed, violation, lastLines, events } = result;
  return [
    ...lastLines,
    "",
    `Seed ${seed} broke a rule after ${events} events: ${violation?.message ?? ""}`,
    `Again, with everything that happened: npm run simulate -- --seed ${seed} --log`,
  ].join("\n");
}

/**
 * Answers whether every rule held. With `log` each line of the history is printed as it happens.
 * @public
 */
export function simulateOne(seed: number, log: boolean, print: Print): boolean {
  const result = runHistory({ seed, ...(log ? { onLine: print } : {}) });
  if (result.violation) print(describeFailure(result));
  else
    print(
      `Seed ${seed}: ${result.events} events, ${result.faults} faults, log ${result.digest.slice(0, 16)}`,
    );
  return !result.violation;
}

/**
 * Seeds `from`, `from + step`, ...: `count` of them. Stops at the first broken rule unless `keepGoing`.
 * @public
 */
export function simulateMany(
  options: {
    readonly from: number;
    readonly count: number;
    readonly step: number;
    readonly keepGoing: boolean;
  },
  print: Print,
  onProgress: (done: number) => void,
): Summary {
  const started = performance.now();
  const broken: number[] = [];
  let [faults, events, histories, shown] = [0, 0, 0, started];
  for (let seed = options.from; histories < options.count; seed += options.step) {
    const result = runHistory({ seed });
    histories++;
    faults += result.faults;
    events += result.events;
    if (result.violation) {
      broken.push(seed);
      print(
        options.keepGoing ? `Seed ${seed}: ${firstLine(result.violation.message)}` : describeFailure(result),
      );
      if (!options.keepGoing) break;
    }
    if (performance.now() - shown < 2_000) continue;
    shown = performance.now();
    onProgress(histories);
  }
  return { histories, faults, events, broken, seconds: (performance.now() - started) / 1000 };
}
const firstLine = (text: string): string => text.split("\n", 1)[0] ?? "";
