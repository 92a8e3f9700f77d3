import type { MetricSummaries, UserAttributes } from "@rain/protocol";
import type { RunMetrics } from "../../core/types.ts";
import { noteOf, readUser } from "../attributes.ts";
import { Curves } from "./curves.ts";
import { LINE_LENGTH } from "./lines.ts";
import { bareNumber, fromObject, parseJson, parseLine } from "./parse.ts";
import { Tail } from "./tail.ts";

/** A line of the file of RAIN_METRICS may hold all parameters. */
const FILE_LINE_LENGTH = 65_536;
/** Bytes of each file that are read at one look, and of what is left when the program has ended. */
const LOOK_BYTES = 1_048_576;
const END_BYTES = 16_777_216;
/** Metric of a program whose last line is a number. */
const ONLY_VALUE = "value";

export interface MetricsEnd extends RunMetrics {
  readonly summaries: MetricSummaries | undefined;
  /** What people should know of what is missing. */
  readonly notes: readonly string[];
}

/** Reads the metrics of one attempt, from its stdout and from the file that RAIN_METRICS names. */
export class Collector {
  readonly #curves = new Curves();
  readonly #stdout: Tail;
  readonly #file: Tail;
  #params: UserAttributes | undefined;
  #isParamsNew = false;
  #lastLine = "";
  #bad = 0;
  #firstBad = "";
  #turn: Promise<unknown> = Promise.resolve();

  constructor({ stdout, metrics }: { readonly stdout: string; readonly metrics: string }) {
    this.#stdout = new Tail(stdout, LINE_LENGTH, (line) => this.#outputLine(line));
    this.#file = new Tail(metrics, FILE_LINE_LENGTH, (line) => this.#fileLine(line));
  }

  /** Reads what is new; answers how many bytes that were. */
  look(): Promise<number> {
    return this.#inTurn(
      async () => (await this.#stdout.look(LOOK_BYTES)) + (await this.#file.look(LOOK_BYTES)),
    );
  }

  /** What looks have brought since the last call. */
  news(): RunMetrics | undefined {
    const points = this.#curves.take();
    if (points.length === 0 && !this.#isParamsNew) return undefined;
    const params = this.#isParamsNew ? { params: this.#params } : {};
    this.#isParamsNew = false;
    return { points, ...params };
  }

  /** The program is dead. Never rejects: metrics that cannot be read are no failure of the task. */
  end(): Promise<MetricsEnd> {
    return this.#inTurn(async () => {
      const notes: string[] = [];
      try {
        await this.#stdout.end(END_BYTES);
        await this.#file.end(END_BYTES);
      } catch (error) {
        notes.push(`metrics could not be read: ${String(error)}`);
      }
      const only = bareNumber(this.#lastLine);
      if (only !== undefined) this.#curves.add({ values: [[ONLY_VALUE, only]] }, Date.now());
      this.#curves.finish();
      notes.push(...this.#notes());
      const points = this.#curves.take();
      return { points, params: this.#params, summaries: this.#curves.summaries, notes };
    });
  }

  #notes(): string[] {
    const notes = [...this.#curves.notes];
    const skipped = this.#stdout.skipped + this.#file.skipped;
    if (skipped > 0) notes.push(`metrics: ${skipped} bytes came too fast and were not read`);
    if (this.#bad > 0)
      notes.push(
        `metrics: ${this.#bad} lines of the file of RAIN_METRICS are not used; the first: ${this.#firstBad}`,
      );
    return notes;
  }

  #outputLine(line: string): void {
    if (line.trim() === "") return;
    this.#lastLine = line;
    this.#curves.add(parseLine(line), Date.now());
  }

  #fileLine(line: string): void {
    const text = line.trim();
    if (text === "") return;
    const problem = this.#takeObject(text);
    if (problem === undefined) return;
    if (this.#bad === 0) this.#firstBad = `${problem}: ${JSON.stringify(text.slice(0, 200))}`;
    this.#bad += 1;
  }

  /** Says what is wrong with a line, if anything. */
  #takeObject(text: string): string | undefined {
    const object = parseJson(text);
    if (object === undefined) return "no JSON object";
    const { params, ...values } = object;
    this.#curves.add(fromObject(values), Date.now());
    if (params === undefined) return undefined;
    if (typeof params !== "object" || params === null) return "params is no object";
    try {
      this.#params = readUser("params", { ...this.#params, ...params });
      this.#isParamsNew = true;
      return undefined;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  /** One reads at a time: the end waits for a look that is under way. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(work);
    this.#turn = mine.catch(() => undefined);
    return mine;
  }
}

/** Notes below one another, within the bound of the field. */
export function joinNotes(...notes: readonly (string | undefined)[]): string | undefined {
  const text = notes.filter((note) => note !== undefined && note !== "").join("\n");
  return text === "" ? undefined : noteOf(text);
}
