import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { errorCatalogue, RainError, type ErrorCode } from "@rain/protocol";
import { exitCodeMeanings, exitCodeOf, exitCodes } from "../../packages/cli/src/exit-codes.ts";
import { CommandError, formatFailure, readFailure } from "../../packages/cli/src/failure.ts";
import { commandGroups } from "../../packages/cli/src/help.ts";
import { createProgram } from "../../packages/cli/src/program.ts";
import { memoryIo, runMain } from "./io.ts";

/** Every command that the parser knows. */
const top = createProgram(memoryIo(), {}, () => undefined).commands;
const commands = top.map((command) => command.name());
/** With their subcommands: `governors`, `governors drain`. */
const commandLines = (): string[] =>
  top.flatMap((command) => [
    command.name(),
    ...command.commands.map((sub) => `${command.name()} ${sub.name()}`),
  ]);

let home: string;
let before: string | undefined;
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "rain-cli-"));
  before = process.env["RAIN_HOME"];
  process.env["RAIN_HOME"] = home;
});
afterAll(async () => {
  if (before === undefined) delete process.env["RAIN_HOME"];
  else process.env["RAIN_HOME"] = before;
  await rm(home, { recursive: true, force: true });
});

describe("help and version", () => {
  test("rain --help fits a screen of 24 lines by 80 and names the exit codes", async () => {
    const { code, out, err } = await runMain(["--help"]);
    expect({ code, err }).toEqual({ code: 0, err: "" });
    const lines = out.trimEnd().split("\n");
    expect(lines.length).toBeLessThanOrEqual(24);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
    const text = out.replaceAll(/\s+/g, " ");
    for (const [number, meaning] of exitCodeMeanings) expect(text).toContain(`${number} ${meaning}`);
  });

  test("every command is in a group of rain --help, once", async () => {
    const { out } = await runMain(["--help"]);
    expect(out).not.toContain("Other:");
    const names = commandGroups.flatMap(([, members]) => members);
    expect(names).toHaveLength(new Set(names).size);
    for (const command of commands) expect(out).toMatch(new RegExp(`[ ,]${command}(,|\n)`));
  });

  test.each(commandLines())("rain %s --help fits a screen", async (command) => {
    const { code, out } = await runMain([...command.split(" "), "--help"]);
    expect(code).toBe(0);
    const lines = out.trimEnd().split("\n");
    expect(lines.length).toBeLessThanOrEqual(24);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(80);
    expect(out).toContain("--instance");
  });
  test.each([[["access"]], [["access", "split"]], [["access", "rotate"]]])(
    "rain %j --help",
    async (words) => {
      const { code, out } = await runMain([...words, "--help"]);
      expect(code).toBe(0);
      expect(out.trimEnd().split("\n").length).toBeLessThanOrEqual(24);
    },
  );

  test("--version is that of the package", async () => {
    const manifest = readFileSync(new URL("../../packages/cli/package.json", import.meta.url), "utf8");
    const { version } = JSON.parse(manifest) as { version: string };
    expect(await runMain(["--version"])).toEqual({ code: 0, out: `rain ${version}\n`, err: "" });
  });

  test("no command at all is a usage error that shows the help", async () => {
    const { code, out, err } = await runMain([]);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toContain("Usage: rain");
  });
});

describe("wrong command lines have exit code 2", () => {
  test("an unknown command, with the nearest one", async () => {
    const { code, err } = await runMain(["sttaus"]);
    expect(code).toBe(2);
    expect(err).toContain("rain: unknown command 'sttaus'");
    expect(err).toContain("status");
  });

  test.each([
    [["status", "--nonsense"], "--nonsense"],
    [["start"], "--simple"],
    [["start", "--simple", "--local-governors=2"], "exclude each other"],
    [["start", "--local-governors=x"], "--local-governors"],
    [["start", "--local-governors=2", "-S"], "--reserve-cpu"],
    [["server", "--listen", "0.0.0.0:x"], "--listen"],
    // case 48: there is no way to serve without keys.
    [["server", "--listen", "0.0.0.0:7210", "--no-auth"], "unknown option '--no-auth'"],
    [["start", "--simple", "--listen", "0.0.0.0:7210", "--no-auth"], "unknown option '--no-auth'"],
    [["governor", "--no-auth"], "unknown option '--no-auth'"],
    [["server", "extra"], "too many arguments"],
    [["governor", "--cpus", "0"], "--cpus"],
    [["governor", "--cpus"], "argument missing"],
    [["explain"], "SESSION/TASK"],
    [["explain", "x"], "SESSION/TASK"],
    [["status", "--instance", "../x"], "--instance"],
    [["status", "-o", "yaml"], "plain, json"],
    [["logs", "1/1", "--stream", "all"], "--stream"],
    [["logs", "1/1", "--experiment", "2"], "goes with a run"],
    [["logs", "calm-otter-001", "--experiment", "two"], "number of an experiment"],
    [["explain", "calm-otter-001"], "number of an experiment"],
    [["explain", "1/1", "2"], "leave out N"],
    [["results"], "RUN"],
    [["results", "Calm_Otter"], "lower case"],
    [["results", "calm-otter-001", "--csv", "--json"], "only one"],
    [["extend", "calm-otter-001"], "--trials"],
    [["extend", "calm-otter-001", "--trials", "0"], "from 1"],
    [["history", "-n", "0"], "from 1"],
    [["datastore", "create", "--name", "x"], "--source"],
    [["datastore", "delete", "x", "--version", "one"], "--version"],
    [["cache", "empty"], "empty"],
    [["status", "--version"], "--version"],
  ])("%j", async (argv, part) => {
    const { code, out, err } = await runMain(argv);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err.startsWith("rain: ")).toBe(true);
    expect(err).toContain(part);
  });

  test.each([["-o", "json"], ["--output=json"], ["-ojson"]])(
    "errors are JSON with %s %s",
    async (...words) => {
      const { code, err } = await runMain(["sttaus", ...words.filter((word) => word !== undefined)]);
      expect(code).toBe(2);
      expect(JSON.parse(err)).toMatchObject({ error: { exitCode: 2 } });
    },
  );
});

test("without a server: exit code 69, the place that was looked at and the remedy", async () => {
  const run = "calm-otter-001";
  const ofRuns = "results best heatmap artifacts delete retry resume get status stop logs".split(" ");
  for (const argv of [
    ["status"],
    ["sessions"],
    ["explain", "1/1"],
    ["logs", "1/1"],
    ["governor"],
    ["list"],
    ["history"],
    ["cache", "list"],
    ["datastore", "list"],
    ["explain", run, "0"],
    ["extend", run, "--trials", "1"],
    ...ofRuns.map((command) => [command, run]),
  ]) {
    const { code, out, err } = await runMain(argv);
    expect({ argv, code, out }).toEqual({ argv, code: 69, out: "" });
    expect(err).toContain(join(home, "default", "access.json"));
    expect(err).toContain("rain start --simple");
  }
  const json = await runMain(["status", "--instance=other", "-o", "json"]);
  expect(JSON.parse(json.err)).toMatchObject({
    error: { exitCode: 69, facts: { accessFile: join(home, "other", "access.json") } },
  });
});

test("rain stop has nothing to do twice", async () => {
  for (let i = 0; i < 2; i += 1) {
    const { code, out } = await runMain(["stop", "--instance", "none"]);
    expect({ code, out }).toEqual({ code: 0, out: "nothing of instance none is running\n" });
  }
  const { out } = await runMain(["stop", "--instance", "none", "-o", "json"]);
  expect(JSON.parse(out)).toEqual({ instance: "none", stopped: [] });
});

describe("exit codes", () => {
  test("every error of the catalogue has a documented one", () => {
    const documented = exitCodeMeanings.map(([code]) => code);
    for (const code of Object.keys(errorCatalogue) as ErrorCode[])
      expect(documented).toContain(exitCodeOf(code));
    expect(exitCodeOf("connection")).toBe(exitCodes.unavailable);
    expect(exitCodeOf("unknown-task")).toBe(exitCodes.failed);
    expect(documented).toEqual(Object.values(exitCodes));
  });

  test("are read from our errors, from their causes and from the system's", () => {
    expect(readFailure(new CommandError(5, "m", { a: 1 }))).toEqual({
      exitCode: 5,
      message: "m",
      facts: { a: 1 },
    });
    expect(readFailure(new RainError("unauthorized", "m"))).toEqual({
      exitCode: 77,
      message: "m",
      code: "unauthorized",
    });
    const full = Object.assign(new Error("no space"), { code: "ENOSPC", syscall: "write" });
    expect(readFailure(full).exitCode).toBe(74);
    expect(readFailure(new RainError("internal", "m", {}, { cause: full })).exitCode).toBe(74);
    expect(readFailure(Object.assign(new Error("m"), { code: "ENOENT", syscall: "open" })).exitCode).toBe(1);
  });

  test("an error of nobody's is a bug: 70, with its stack", () => {
    const failure = readFailure(new TypeError("x is undefined"));
    expect(failure.exitCode).toBe(70);
    expect(formatFailure(failure, false)).toMatch(/^rain: x is undefined .*bug[^\n]*\n.*TypeError/s);
    expect(readFailure("text")).toEqual({ exitCode: 70, message: "text" });
  });

  test("messages of others are inert in errors", () => {
    const text = formatFailure({ exitCode: 1, message: "a\u001b[2J\nb\u009b" }, false);
    expect(text).toBe("rain: a\\u001b[2J\nb\\u009b\n");
  });
});
