import type { Command, Help } from "commander";
import { exitCodeMeanings } from "./exit-codes.ts";

/**
 * Help in the form that fits a screen of 24 lines by 80: one line a command or option, defaults only where the text
 * names them, global options of a command in one line.
 */
export function formatHelp(command: Command, helper: Help): string {
  const isTop = command.parent === null;
  const options = helper
    .visibleOptions(command)
    .filter((option) => isTop || option.long !== "--help")
    .map((option) => [helper.optionTerm(option), option.description] as const);
  const commands = helper
    .visibleCommands(command)
    .map((each) => [helper.subcommandTerm(each), helper.subcommandDescription(each)] as const);
  const operands = helper
    .visibleArguments(command)
    .map((each) => [helper.argumentTerm(each), each.description] as const);
  const width = Math.max(...[...options, ...commands, ...operands].map(([term]) => term.length), 0);
  const rows = (items: readonly (readonly [string, string])[]): string[] =>
    items.map(([term, text]) => `  ${term.padEnd(width)}  ${text}`);
  const section = (title: string, items: readonly (readonly [string, string])[]): string[] =>
    items.length === 0 ? [] : [`${title}:`, ...rows(items)];
  const head = [`Usage: ${helper.commandUsage(command)}`, helper.commandDescription(command)];
  const lines = [
    ...head,
    "",
    ...section("Commands", commands),
    ...section("Arguments", operands),
    ...section("Options", options),
    ...(isTop ? wrap(exitCodesText(), helper.helpWidth ?? 80) : globals),
  ];
  return `${lines.join("\n")}\n`;
}

const globals = ["", "Also: --instance NAME, --access-file FILE, -o plain|json; see rain --help."];

const exitCodesText = (): string =>
  `Exit codes: ${exitCodeMeanings.map(([code, meaning]) => `${code} ${meaning}`).join(", ")}.`;

/** Breaks a text at commas, so that a code stays with its meaning. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const part of text.split(/(?<=,) /)) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + part.length <= width)
      lines[lines.length - 1] = `${last} ${part}`;
    else lines.push(lines.length === 0 ? part : `  ${part}`);
  }
  return lines;
}
