import { readFlags, type SweepFlag } from "@rain/sweep";

/** The program's arguments as flags, and back. */

export const wordsOfFlags = (flags: readonly SweepFlag[]): string[] =>
  flags.flatMap(({ name, values, joined }) => {
    if (joined === true) return values.map((value) => `${name}=${value}`);
    return name === "" ? [...values] : [name, ...values];
  });

/** Is it `--name` or `--name value`? */
export const isSimple = ({ name, values, joined }: SweepFlag): boolean =>
  joined !== true && name.startsWith("--") && name !== "--__proto__" && values.length < 2;

const plainName = (flag: SweepFlag): string => flag.name.replace(/!$/, "");

/**
 * Words of the command line over those of a file: a flag takes the place of the file's flag of that name, others come
 * after them. Words without a flag take the place of the file's.
 */
export function mergeWords(ofFile: readonly string[], typed: readonly string[]): string[] {
  if (typed.length === 0) return [...ofFile];
  const [file, fileEnd] = cutAtEnd(ofFile);
  const [line, lineEnd] = cutAtEnd(typed);
  const free = (flags: readonly SweepFlag[]): SweepFlag[] => flags.filter(({ name }) => name === "");
  const named = (flags: readonly SweepFlag[]): SweepFlag[] => flags.filter(({ name }) => name !== "");
  const areTyped = free(line).length > 0 || lineEnd.length > 0;
  const left = new Map<string, SweepFlag[]>();
  for (const flag of named(line)) left.set(plainName(flag), [...(left.get(plainName(flag)) ?? []), flag]);
  const isTyped = new Set(left.keys());
  const replaced = named(file).flatMap((flag) => {
    const name = plainName(flag);
    if (!isTyped.has(name)) return [flag];
    const own = left.get(name) ?? [];
    left.delete(name);
    return own;
  });
  return [
    ...wordsOfFlags(free(areTyped ? line : file)),
    ...wordsOfFlags([...replaced, ...[...left.values()].flat()]),
    ...(areTyped ? lineEnd : fileEnd),
  ];
}

/** The flags up to `--`, and the words from it on. */
function cutAtEnd(words: readonly string[]): readonly [readonly SweepFlag[], readonly string[]] {
  const end = words.indexOf("--");
  return end === -1 ? [readFlags(words), []] : [readFlags(words.slice(0, end)), words.slice(end)];
}
