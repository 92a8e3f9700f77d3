import { FLAG_ALIASES } from "./flags.ts";

/** What is needed of an option to step over it on a command line. */
interface KnownOption {
  readonly short?: string | undefined;
  readonly long?: string | undefined;
  /** It is followed by a value. */
  readonly required: boolean;
}

/**
 * Puts `--` before the PROGRAM of `rain run [RUN FLAGS] PROGRAM [ARGS...]`, so that nothing after it is taken for a flag
 * of rain. Other command lines are left as they are. `common`: options of every command, `own`: those of run.
 */
export function markProgram(
  argv: readonly string[],
  common: readonly KnownOption[],
  own: readonly KnownOption[],
): string[] {
  let at = skipOptions(argv, 0, common).at;
  if (argv[at] !== "run") return [...argv];
  at += 1;
  const { at: end, words } = skipOptions(argv, at, [...common, ...own]);
  const rest = argv.slice(end);
  const next = rest[0];
  // What looks like an option here is none that is known: the parser says so.
  const isProgram = next !== undefined && (next === "-" || !next.startsWith("-"));
  return [...argv.slice(0, at), ...words, ...(isProgram ? ["--"] : []), ...rest];
}

/** The place of the first word that is no known option, nor its value; the words before it, flags as they are known. */
function skipOptions(
  argv: readonly string[],
  start: number,
  options: readonly KnownOption[],
): { readonly at: number; readonly words: readonly string[] } {
  const words: string[] = [];
  let at = start;
  for (;;) {
    const word = argv[at];
    if (word === undefined || word === "--" || !word.startsWith("-")) return { at, words };
    const name = word.startsWith("--") ? (word.split("=")[0] ?? word) : word.slice(0, 2);
    const known = findOption(name, options);
    if (known === undefined) return { at, words };
    const isJoined = name.length < word.length;
    words.push(known.name + word.slice(name.length));
    at += 1;
    const value = argv[at];
    if (!known.option.required || isJoined || value === undefined) continue;
    words.push(value);
    at += 1;
  }
}

/** The option of this name; `-` and `_` in it are the same. */
function findOption(
  name: string,
  options: readonly KnownOption[],
): { readonly option: KnownOption; readonly name: string } | undefined {
  const meant = FLAG_ALIASES[name.replaceAll(/(?<=\w)-/g, "_")] ?? name;
  for (const spelling of [meant, meant.replaceAll(/(?<=\w)-/g, "_"), meant.replaceAll(/(?<=\w)_/g, "-")]) {
    const option = options.find(({ short, long }) => short === spelling || long === spelling);
    if (option) return { option, name: spelling };
  }
  return undefined;
}
