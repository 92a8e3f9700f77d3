/** A piece of a text: from `start` up to, not including, `end`, in UTF-16 units as JavaScript counts. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** The only error that this package throws for what a user wrote. */
export class SweepError extends Error {
  override readonly name: string = "SweepError";
  /** The text that `span` points into; undefined when the error concerns no text (see `span`). */
  readonly source: string | undefined;
  /** Where the mistake is; undefined when it is not in one place, for example unequal lengths. */
  readonly span: Span | undefined;
  /** The likely fix, a sentence that follows "try: ". */
  readonly hint: string | undefined;
  /** The flag that the text belongs to, as the user wrote it: `--lr`, `--where`. */
  readonly flag: string | undefined;

  constructor(message: string, at: { source?: string; span?: Span; hint?: string; flag?: string } = {}) {
    super(message);
    this.source = at.source;
    this.span = at.span;
    this.hint = at.hint;
    this.flag = at.flag;
  }

  /** The same error, said of a flag. */
  inFlag(flag: string): SweepError {
    return new SweepError(this.message, { ...withoutUndefined(this), flag });
  }
}

function withoutUndefined(error: SweepError): { source?: string; span?: Span; hint?: string } {
  return {
    ...(error.source === undefined ? {} : { source: error.source }),
    ...(error.span === undefined ? {} : { span: error.span }),
    ...(error.hint === undefined ? {} : { hint: error.hint }),
  };
}

const WIDTH = 96;
const MARGIN = 32;

/** One column a character: what would move the caret (tabs, control characters) becomes a space. */
const columns = (text: string): string[] => Array.from(text, (char) => (/\p{C}/u.test(char) ? " " : char));

/** The line of `source` that holds `span.start`, and the span within it, in characters. */
function lineOf(source: string, span: Span): { line: string[]; from: number; to: number } {
  const start = source.lastIndexOf("\n", span.start - 1) + 1;
  const newline = source.indexOf("\n", span.start);
  const end = newline === -1 ? source.length : newline;
  const from = columns(source.slice(start, span.start)).length;
  const length = columns(source.slice(span.start, Math.min(span.end, end))).length;
  return { line: columns(source.slice(start, end)), from, to: from + Math.max(1, length) };
}

/** The line and the caret under it; a long line is cut around the caret. */
function caretLines(source: string, span: Span): string[] {
  const { line, from, to } = lineOf(source, span);
  const first = line.length > WIDTH ? Math.max(0, Math.min(from - MARGIN, line.length - WIDTH)) : 0;
  const shown = line.slice(first, first + WIDTH);
  const before = first > 0 ? "…" : "";
  const after = first + WIDTH < line.length ? "…" : "";
  const room = shown.length + 1;
  const marks = Math.max(1, Math.min(to - from, room - (from - first)));
  const indent = " ".repeat(before.length + from - first);
  return [`  ${before}${shown.join("")}${after}`, `  ${indent}^${"~".repeat(marks - 1)}`];
}

/**
 * The error for a terminal: message, the line it is about, a caret under the mistake, and the likely fix.
 * `source` is the text that was parsed; an error that has no place shows its message and fix only.
 */
export function renderError(source: string, error: SweepError): string {
  const head = error.flag === undefined ? error.message : `${error.flag}: ${error.message}`;
  const place = error.span === undefined ? [] : caretLines(source, error.span);
  const fix = error.hint === undefined ? [] : [`  try: ${error.hint}`];
  return [head, ...place, ...fix].join("\n");
}
