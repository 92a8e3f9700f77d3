import {
  limits,
  type ReplyOf,
  type Requests,
  type ResultRow,
  type SessionId,
  type TaskCounts,
} from "@rain/protocol";

/** Rows of the table of results, and where to go on: `session.results({ since: results })`. */
export interface Results {
  /** One for each task that changed, in the order of their changes. */
  readonly rows: readonly ResultRow[];
  readonly counts: TaskCounts;
  readonly cursor: number;
  /** The start of the server for which the cursor counts; with another one all rows come again. */
  readonly instance: string;
}

export interface ResultsOptions {
  /** Only tasks that changed since those results. Default: all. */
  readonly since?: Pick<Results, "cursor" | "instance"> | undefined;
}

type Ask = (fields: Requests["results"]) => Promise<ReplyOf<"results">>;

/** Asks page after page until there is nothing more. */
export async function readResults(
  session: SessionId,
  since: ResultsOptions["since"],
  ask: Ask,
): Promise<Results> {
  const rows: ResultRow[] = [];
  let { cursor = 0, instance }: { cursor?: number; instance?: string } = since ?? {};
  for (;;) {
    const page = await ask({
      session,
      since: cursor,
      ...(instance !== undefined && { instance }),
      max: limits.resultRows,
    });
    rows.push(...page.rows);
    ({ cursor, instance } = page);
    if (!page.more) return { rows, counts: page.counts, cursor, instance };
  }
}
