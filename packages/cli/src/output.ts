import { once } from "node:events";
import { escapeText } from "./escape.ts";

/** Where a command writes. Tests give their own; `processIo` is the real one. */
export interface Io {
  readonly stdout: (text: string | Uint8Array) => void;
  readonly stderr: (text: string | Uint8Array) => void;
  /** Resolves when stdout takes more: a long output waits for its reader. */
  readonly drained: () => Promise<void>;
  /** Columns of the terminal behind stdout; undefined when it is a pipe or file: tables are not cut then. */
  readonly columns: number | undefined;
  /** Lines of that terminal. */
  readonly rows?: number | undefined;
  readonly colour: boolean;
  /** Asks the user; only where stdin and stdout are a terminal. Enter means `byDefault`: yes unless given. */
  readonly ask?: ((question: string, byDefault?: boolean) => Promise<boolean>) | undefined;
}

export function processIo(): Io {
  const { stdout, stderr } = process;
  // The reader went away (`rain logs 1/1 | head`): end as a program does that SIGPIPE ends.
  stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(128 + 13);
  });
  return {
    stdout: (text) => void stdout.write(text),
    stderr: (text) => void stderr.write(text),
    drained: async () => {
      if (stdout.writableNeedDrain) await once(stdout, "drain");
    },
    // Asked each time: a window changes its size.
    get columns() {
      return stdout.isTTY ? stdout.columns || 80 : undefined;
    },
    get rows() {
      return stdout.isTTY ? stdout.rows || 24 : undefined;
    },
    colour: useColour(stdout.isTTY, process.env),
    ask: process.stdin.isTTY && stdout.isTTY ? askUser : undefined,
  };
}

async function askUser(question: string, byDefault = true): Promise<boolean> {
  const { createInterface } = await import("node:readline/promises");
  const reader = createInterface({ input: process.stdin, output: process.stdout });
  try {
    const answer = (await reader.question(`${question} ${byDefault ? "[Y/n]" : "[y/N]"} `)).trim();
    return answer === "" ? byDefault : /^y(es)?$/i.test(answer);
  } finally {
    reader.close();
  }
}

/** Colour only on a terminal, and never against NO_COLOR (https://no-color.org) or a dumb terminal. */
export const useColour = (isTty: boolean | undefined, env: NodeJS.ProcessEnv): boolean =>
  isTty === true && !env["NO_COLOR"] && env["TERM"] !== "dumb";

export type OutputFormat = "plain" | "json";

/** Prints a result: `json` as it is, or the text of `plain`. A JSON result is one document, two spaces deep. */
export function print(io: Io, format: OutputFormat, json: unknown, plain: () => string): void {
  if (format === "json") {
    // JSON.stringify leaves the C1 controls and direction characters as they are. Line breaks here are its own.
    const lines = JSON.stringify(json, null, 2).split("\n").map(escapeText);
    io.stdout(`${lines.join("\n")}\n`);
    return;
  }
  const text = plain();
  if (text !== "") io.stdout(text.endsWith("\n") ? text : `${text}\n`);
}

export interface Column {
  readonly title: string;
  readonly align?: "left" | "right";
  /** May be cut when the table is wider than the terminal. */
  readonly flexible?: boolean;
}

const gap = "  ";
/** Narrowest a flexible column becomes. */
const narrowest = 8;

/**
 * A table as lines of text. Cells are escaped. When it is wider than the terminal the widest flexible columns lose
 * characters first; a width counts code points, so that full-width scripts may run over.
 */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[], io: Io): string {
  const cells = rows.map((row) => columns.map((_, index) => [...escapeText(row[index] ?? "")]));
  const widths = columns.map((column, index) =>
    Math.max(column.title.length, ...cells.map((row) => row[index]?.length ?? 0)),
  );
  if (io.columns !== undefined) shrink(columns, widths, io.columns);
  const title = columns.map((column, index) => pad([...column.title], widths[index] ?? 0, column.align));
  const lines = cells.map((row) =>
    columns.map((column, index) => pad(row[index] ?? [], widths[index] ?? 0, column.align)).join(gap),
  );
  return [bold(title.join(gap).trimEnd(), io), ...lines.map((line) => line.trimEnd())].join("\n");
}

/** Takes characters from the widest flexible column until the table fits or nothing more can be taken. */
function shrink(columns: readonly Column[], widths: number[], limit: number): void {
  const total = (): number =>
    widths.reduce((sum, width) => sum + width, 0) + gap.length * (widths.length - 1);
  for (let over = total() - limit; over > 0; over -= 1) {
    let widest = -1;
    for (const [index, column] of columns.entries()) {
      const width = widths[index] ?? 0;
      const least = Math.max(narrowest, column.title.length);
      if (column.flexible === true && width > least && width > (widths[widest] ?? 0)) widest = index;
    }
    if (widest < 0) return;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
}

function pad(cell: readonly string[], width: number, align: Column["align"]): string {
  const text = cell.length > width ? `${cell.slice(0, width - 1).join("")}…` : cell.join("");
  const space = " ".repeat(Math.max(0, width - cell.length));
  return align === "right" ? space + text : text + space;
}

export const bold = (text: string, io: Io): string => (io.colour ? `\u001b[1m${text}\u001b[22m` : text);

const units = ["B", "K", "M", "G", "T", "P"] as const;
/** Bytes for people: `0`, `512B`, `1.5G`; units of 1024. */
export function formatBytes(bytes: number): string {
  if (bytes === 0) return "0";
  let value = bytes;
  let unit = 0;
  while (value >= 1023.95 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = Number.isInteger(value) || value >= 100 ? 0 : 1;
  return `${value.toFixed(digits)}${units[unit] ?? ""}`;
}

/** A time span for people: `8s`, `3m 20s`, `5h 2m`, `12d 3h`. */
export function formatDuration(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m ${s % 60}s`;
  if (s < 86_400) return `${Math.floor(s / 3600)}h ${Math.floor((s % 3600) / 60)}m`;
  return `${Math.floor(s / 86_400)}d ${Math.floor((s % 86_400) / 3600)}h`;
}

/** A count of resources for people: no more than two decimals. */
export const formatAmount = (amount: number): string => String(Math.round(amount * 100) / 100);
