import { isSweepSyntax } from "../values/parse-value.ts";

/** One flag of a program with its words, or one word without a flag. */
export interface SweepFlag {
  /**
   * As it stands on the command line: `--lr`, `-n`, `--verbose!`. "" is a word without a flag. With `joined`, what
   * stands before the `=`: `--lr`, `lr`.
   */
  readonly name: string;
  /** The words after it. Each may be sweep syntax; none means that the flag stands alone. */
  readonly values: readonly string[];
  /** `--lr=VALUE` in one word instead of two. */
  readonly joined?: boolean;
}

const FLAG = /^--?[\p{L}_][\p{L}\p{N}_.\-/]*!?$/u;
const JOINED = /^(--?[\p{L}_][\p{L}\p{N}_.\-/]*)=([^]*)$/u;
const SETTING = /^([\p{L}_+~][\p{L}\p{N}_.\-/@]*)=([^]*)$/u;

/** `lr=[1, 2]`, as Hydra has it: only when the value is sweep syntax; other words are left whole. */
function readSetting(word: string): SweepFlag | undefined {
  const [, name, value] = SETTING.exec(word) ?? [];
  if (name === undefined || value === undefined || !isSweepSyntax(value)) return undefined;
  return { name, values: [value], joined: true };
}

function readWord(word: string): SweepFlag {
  const [, name, value] = JOINED.exec(word) ?? [];
  if (name !== undefined && value !== undefined) return { name, values: [value], joined: true };
  return readSetting(word) ?? { name: "", values: [word] };
}

/**
 * Splits a program's command line into flags. Words that follow a flag belong to it, up to the next flag; after
 * `--` no word is a flag. Whoever puts the words together again gets the same command line.
 */
export function readFlags(words: readonly string[]): SweepFlag[] {
  const flags: SweepFlag[] = [];
  let open: string[] | undefined;
  for (const [index, word] of words.entries()) {
    if (word === "--") {
      const rest = words.slice(index);
      return [...flags, ...rest.map((text): SweepFlag => ({ name: "", values: [text] }))];
    }
    if (FLAG.test(word)) {
      open = [];
      flags.push({ name: word, values: open });
    } else if (open !== undefined && !JOINED.test(word) && readSetting(word) === undefined) {
      open.push(word);
      if (flags.at(-1)?.name.endsWith("!") === true) open = undefined;
    } else {
      open = undefined;
      flags.push(readWord(word));
    }
  }
  return flags;
}
