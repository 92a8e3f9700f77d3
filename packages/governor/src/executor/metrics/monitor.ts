import type { AttemptRef } from "@rain/protocol";
import type { RunMetrics } from "../../core/types.ts";
import type { Log } from "../types.ts";
import { Collector, type MetricsEnd } from "./collector.ts";

const EVERY_MS = 500;
/** Bytes of one look at all tasks; those that had to wait are first the next time. */
const LOOK_BYTES = 8_388_608;

export interface MetricsWatch {
  /** The program is dead: reads the rest. */
  end(): Promise<MetricsEnd>;
  /** Nobody is interested any more; after `end` it does nothing. */
  stop(): void;
}

interface Watched {
  readonly ref: AttemptRef;
  readonly collector: Collector;
}

/** Looks at the metrics of running tasks, all of them by one timer. */
export class MetricsMonitor {
  readonly #onNews: (ref: AttemptRef, news: RunMetrics) => void;
  readonly #log: Log;
  readonly #watched = new Set<Watched>();
  #timer: NodeJS.Timeout | undefined;

  constructor(onNews: (ref: AttemptRef, news: RunMetrics) => void, log: Log) {
    this.#onNews = onNews;
    this.#log = log;
  }

  /** News come until `end` or `stop`. */
  watch(ref: AttemptRef, files: { readonly stdout: string; readonly metrics: string }): MetricsWatch {
    const watched = { ref, collector: new Collector(files) };
    this.#watched.add(watched);
    this.#arm();
    return {
      end: () => {
        this.#watched.delete(watched);
        return watched.collector.end();
      },
      stop: () => {
        this.#watched.delete(watched);
      },
    };
  }

  #arm(): void {
    if (this.#timer !== undefined || this.#watched.size === 0) return;
    this.#timer = setTimeout(() => {
      this.#lookAtAll()
        .catch((error: unknown) => this.#log("warn", `metrics of tasks: ${String(error)}`))
        .finally(() => {
          this.#timer = undefined;
          this.#arm();
        });
    }, EVERY_MS).unref();
  }

  async #lookAtAll(): Promise<void> {
    let left = LOOK_BYTES;
    for (const watched of [...this.#watched]) {
      if (left <= 0) return;
      if (!this.#watched.delete(watched)) continue;
      this.#watched.add(watched); // to the end of the line
      left -= await this.#look(watched);
    }
  }

  async #look(watched: Watched): Promise<number> {
    const { ref, collector } = watched;
    try {
      return await collector.look();
    } catch (error) {
      this.#watched.delete(watched); // its end says it again, to those who can do something about it
      this.#log("warn", `metrics of ${ref.session}/${ref.task}: ${String(error)}`);
      return 0;
    } finally {
      const news = this.#watched.has(watched) ? collector.news() : undefined;
      if (news !== undefined) this.#onNews(ref, news);
    }
  }
}
