import type { Command, Help } from "commander";
import { exitCodeMeanings } from "./exit-codes.ts";

/**
 * The commands by what they are about, in the order of `rain --help`. A command that is in none of them is shown as
 * "Other"; a test says so.
 */
export const commandGroups: readonly (readonly [string, readonly string[]])[] = [
  ["Cluster", "start stop status governors server governor scp access journal dashboard".split(" ")],
  [
    "Runs",
    (
      "run submit list get results best heatmap logs artifacts explain retry resume extend " +
      "delete history"
    ).split(" "),
  ],
  ["Data", "datastore cache".split(" ")],
  ["Tasks", "sessions".split(" ")],
];

const examples: readonly (readonly [string, string])[] = [
  ["rain start --simple", "a server and a governor in the background"],
  ['rain run train.py --lr "[0.1, 0.2]"', "a run: one experiment for each value"],
  ["rain results RUN", "its table; RUN: name or session number"],
  ["rain COMMAND --help", "what a command does, and its options"],
];

/**
 * Help in the form that fits a screen of 24 lines by 80: one line a command or option, defaults only where the text
 * names them, global options of a command in one line. The top shows the names of the commands in groups.
 */
export function formatHelp(command: Command, helper: Help): string {
  return command.parent === null ? topHelp(command, helper) : commandHelp(command, helper);
}

type Item = readonly [term: string, text: string];

function commandHelp(command: Command, helper: Help): string {
  const options = helper
    .visibleOptions(command)
    .filter((option) => option.long !== "--help")
    .map((option): Item => [helper.optionTerm(option), option.description]);
  const commands = helper
    .visibleCommands(command)
    .map((each): Item => [helper.subcommandTerm(each), helper.subcommandDescription(each)]);
  const operands = helper
    .visibleArguments(command)
    .map((each): Item => [helper.argumentTerm(each), each.description]);
  const width = Math.max(...[...options, ...commands, ...operands].map(([term]) => term.length), 0);
  return lines([
    ...head(command, helper),
    ...section("Commands", commands, width),
    ...section("Arguments", operands, width),
    ...section("Options", options, width),
    ...globals,
  ]);
}

function topHelp(command: Command, helper: Help): string {
  const options: Item[] = [
    ["-V, --version", "print the version"],
    ...helper.visibleOptions(command).map((option): Item => [helper.optionTerm(option), option.description]),
  ];
  const widest = (items: readonly Item[]): number => Math.max(...items.map(([term]) => term.length));
  return lines([
    ...head(command, helper),
    ...groupLines(
      helper.visibleCommands(command).map((each) => each.name()),
      helper.helpWidth ?? 80,
    ),
    "",
    ...rows(examples, widest(examples)),
    ...section("Options", options, widest(options)),
    ...wrap(exitCodesText(), helper.helpWidth ?? 80),
  ]);
}

const lines = (all: readonly string[]): string => `${all.join("\n")}\n`;
const head = (command: Command, helper: Help): string[] => [
  `Usage: ${helper.commandUsage(command)}`,
  helper.commandDescription(command),
  "",
];
const rows = (items: readonly Item[], width: number): string[] =>
  items.map(([term, text]) => `  ${term.padEnd(width)}  ${text}`);
const section = (title: string, items: readonly Item[], width: number): string[] =>
  items.length === 0 ? [] : [`${title}:`, ...rows(items, width)];

/** `Runs:     run, submit, list`, on further lines when one is not enough. */
function groupLines(names: readonly string[], width: number): string[] {
  const grouped = new Set(commandGroups.flatMap(([, members]) => members));
  const other = ["Other", names.filter((name) => !grouped.has(name))] as const;
  const groups = [...commandGroups, other].map(
    ([title, members]) => [title, members.filter((name) => names.includes(name))] as const,
  );
  const indent = Math.max(...groups.map(([title]) => title.length)) + 2;
  return groups.flatMap(([title, members]) => {
    if (members.length === 0) return [];
    const broken = wrap(members.join(", "), width - indent, "");
    return broken.map((line, index) => `${(index === 0 ? `${title}:` : "").padEnd(indent)}${line.trimEnd()}`);
  });
}

const globals = ["", "Also: --instance NAME, --access-file FILE, -o plain|json; see rain --help."];

const exitCodesText = (): string =>
  `Exit codes: ${exitCodeMeanings.map(([code, meaning]) => `${code} ${meaning}`).join(", ")}.`;

/** Breaks a text at commas, so that a code stays with its meaning. */
function wrap(text: string, width: number, indent = "  "): string[] {
  const broken: string[] = [];
  for (const part of text.split(/(?<=,) /)) {
    const last = broken.at(-1);
    if (last !== undefined && last.length + 1 + part.length <= width)
      broken[broken.length - 1] = `${last} ${part}`;
    else broken.push(broken.length === 0 ? part : `${indent}${part}`);
  }
  return broken;
}
