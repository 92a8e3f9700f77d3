/** Names of the journal's files. Numbers have 16 digits, so that names sort as their numbers do. */

const digits = (n: number): string => String(n).padStart(16, "0");

/** A segment, by the sequence of its first frame. */
export const segmentName = (first: number): string => `journal-${digits(first)}.log`;
/** A snapshot of everything up to and with this sequence. */
export const snapshotName = (upTo: number): string => `snapshot-${digits(upTo)}.snap`;
/** The name under which a file is written before it is whole. */
export const partialName = (name: string): string => `${name}.tmp`;

export interface FoundFile {
  readonly name: string;
  /** First sequence of a segment, last sequence of a snapshot. */
  readonly sequence: number;
}
export interface FoundFiles {
  /** Ascending. */
  readonly segments: readonly FoundFile[];
  /** Ascending. */
  readonly snapshots: readonly FoundFile[];
  /** Left by an interrupted compaction or repair. */
  readonly partial: readonly string[];
}

/** Sorts the names in a journal's folder; others (the lock) are not the journal's business. */
export function sortNames(names: readonly string[]): FoundFiles {
  return {
    segments: matching(names, /^journal-(\d{16})\.log$/),
    snapshots: matching(names, /^snapshot-(\d{16})\.snap$/),
    partial: names
      .filter((name) => /^(snapshot-\d{16}\.snap|journal-\d{16}\.log)\.tmp$/.test(name))
      .toSorted(),
  };
}

function matching(names: readonly string[], pattern: RegExp): FoundFile[] {
  const found: FoundFile[] = [];
  for (const name of names) {
    const match = pattern.exec(name);
    if (match) found.push({ name, sequence: Number(match[1]) });
  }
  return found.toSorted((a, b) => a.sequence - b.sequence);
}
