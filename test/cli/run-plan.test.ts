import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { shellLine } from "../../packages/cli/src/runs/plan.ts";
import { MALFORMED } from "../sweep/malformed.ts";
import { runMain } from "./io.ts";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "rain-run-"));
  for (const name of ["t.py", "t.mjs", "t.ts", "run", "data.csv", "plain"])
    await writeFile(join(folder, name), "");
  await writeFile(join(folder, "t.sh"), 'for a in "$@"; do printf "<%s>" "$a"; done; echo\n');
  await mkdir(join(folder, "sub"));
  await writeFile(join(folder, "sub/deep.py"), "");
  await chmod(join(folder, "run"), 0o755);
});
afterAll(() => rm(folder, { recursive: true }));

const dry = (...words: string[]): ReturnType<typeof runMain> =>
  runMain(["run", "--dry-run", "--localdir", folder, "--seed", "42", ...words]);

/** The commands of a dry run, which must be accepted. */
async function commands(...words: string[]): Promise<string[]> {
  const { code, out, err } = await dry(...words);
  expect({ code, err: err.replace(/^rain: warning: .*loguniform.*\n/, "") }).toEqual({ code: 0, err: "" });
  return out.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
}
const refusal = async (...words: string[]): Promise<string> => {
  const { code, out, err } = await dry(...words);
  expect({ code, out }).toEqual({ code: 2, out: "" });
  return err;
};

describe("each form of a value, in order", () => {
  const page = readFileSync(new URL("../../docs/sweeps.md", import.meta.url), "utf8");
  const block = /```text\n([^]*?)```/.exec(page)?.[1] ?? "";
  test.for(block.split("\n").filter((line) => line.includes("→")))("%s", async (line) => {
    const [source = "", values = ""] = line.split("→").map((text) => text.trim());
    expect(await commands("t.py", "--x", source, "--data", "data.csv")).toEqual(
      values.split(" | ").map((value) => `python3 t.py --x ${shellLine([value])} --data data.csv`),
    );
  });

  test.for([
    [["--lr=[1, 2]"], ["--lr=1", "--lr=2"]],
    [["lr=[1, 2]"], ["lr=1", "lr=2"]],
    [
      ["--betas", "0.9", "[0.99, 0.999]"],
      ["--betas 0.9 0.99", "--betas 0.9 0.999"],
    ],
    [
      ["--amp!", "[True, False]"],
      ["--amp", ""],
    ],
    [["[1, 2]"], ["1", "2"]],
    [
      ["--a", "[1, 2]", "--b", "['x', 'y z']"],
      ["--a 1 --b x", "--a 1 --b 'y z'", "--a 2 --b x", "--a 2 --b 'y z'"],
    ],
    [
      ["--a", "x", "--", "--b", "[1, 2]"],
      ["--a x -- --b 1", "--a x -- --b 2"],
    ],
    [["--x", "literal:[0, 1]"], ["--x '[0, 1]'"]],
    // What rain has too is the program's behind its name.
    [["-o", "json", "--name", "x", "--help", "--dry-run"], ["-o json --name x --help --dry-run"]],
  ] as const)("%j", async ([words, expected]) => {
    const found = await commands("t.py", ...words);
    expect(found).toEqual(expected.map((line) => `python3 t.py ${line}`.trim()));
  });
});

describe("how values combine", () => {
  const words = ["t.py", "--a", "[1, 2, 3]", "--b", "[10, 20, 30]"];
  test("random_search takes some without repeats, the same for the same seed", async () => {
    const some = await commands("--strategy", "random_search", "--trials", "4", ...words);
    expect(new Set(some).size).toBe(4);
    expect(await commands("--strategy=random_search", "--num_trials=4", ...words)).toEqual(some);
    const all = await commands(...words);
    for (const line of some) expect(all).toContain(line);
    expect(await refusal("--strategy", "random_search", "--trials", "10", ...words)).toContain(
      "10 trials from a product of 9 combinations",
    );
  });
  test("zip, none, where", async () => {
    expect(await commands("--strategy", "zip", ...words)).toEqual([
      "python3 t.py --a 1 --b 10",
      "python3 t.py --a 2 --b 20",
      "python3 t.py --a 3 --b 30",
    ]);
    expect(await commands("--strategy", "none", ...words)).toEqual([
      "python3 t.py --a '[1, 2, 3]' --b '[10, 20, 30]'",
    ]);
    expect(await commands("--where", "a * b < 30", ...words)).toEqual([
      "python3 t.py --a 1 --b 10",
      "python3 t.py --a 1 --b 20",
      "python3 t.py --a 2 --b 10",
    ]);
    expect(await refusal("--where", "a * c < 30", ...words)).toContain("c");
  });
  test("repeat runs each with its own RAIN_SEED", async () => {
    expect(await commands("--repeat", "2", "t.py", "--a", "[1, 2]")).toEqual([
      "RAIN_SEED=0 python3 t.py --a 1",
      "RAIN_SEED=1 python3 t.py --a 1",
      "RAIN_SEED=0 python3 t.py --a 2",
      "RAIN_SEED=1 python3 t.py --a 2",
    ]);
  });
});

describe("a mistake is shown at its character", () => {
  test.for(MALFORMED)("%s", async ([source, caret, message]) => {
    expect((await refusal("t.py", "--x", source)).split("\n").slice(0, 3)).toEqual([
      `rain: --x: ${message}`,
      `  ${source}`,
      `  ${caret}`,
    ]);
  });
});

describe("a dry run says", () => {
  test("the count, the resources in total, and that nothing was started", async () => {
    const { out } = await dry("--gpus", "8", "--memory=10G", "t.py", "--a", "[1, 2, 3, 4]", "--b", "[1, 2]");
    const notes = out.split("\n").filter((line) => line.startsWith("#"));
    expect(notes).toEqual([
      "# 8 trials: a 4 x b 2, grid_search, seed 42",
      "# 4 x 2 x 1 CPUs = 8",
      "# 4 x 2 x 8 GPUs = 64",
      "# 4 x 2 x 10G memory = 80G",
      "# nothing was started: this is a dry run",
    ]);
  });

  test("a script: a shell gives each word as it was meant", async () => {
    const odd = `["a b", "it's", "$HOME", "x\\ny", "*", ";true", ""]`;
    const { out } = await dry("t.sh", "--x", odd);
    const ran = execFileSync("sh", { input: out, cwd: folder, encoding: "utf8" });
    const values = ["a b", "it's", "$HOME", "x\ny", "*", ";true", ""];
    expect(ran).toBe(values.map((value) => `<--x><${value}>\n`).join(""));
  });

  test("what is legal and seldom meant, and what rain run would refuse", async () => {
    const wide = await dry("t.py", "--lr", "uniform(1e-5, 1, 3)");
    expect(wide).toMatchObject({ code: 0, err: expect.stringMatching(/warning: --lr: .*loguniform/) });
    const many = await dry("t.py", "--a", "range(101)");
    expect(many.code).toBe(0);
    expect(many.err).toContain("101 trials, more than 100, the default of --max_nodes");
    for (const flag of ["--ignore_warnings", "--max_nodes=101", "--max-nodes=101"])
      expect((await dry(flag, "t.py", "--a", "range(101)")).err).toBe("");
    const refused = await runMain(["run", "--localdir", folder, "--max_nodes=2", "t.py", "--a", "range(3)"]);
    expect(refused.code).toBe(2);
    expect(refused.err).toContain("--max_nodes 3 or --ignore_warnings");
  });

  test("all of it as JSON", async () => {
    const { out } = await runMain(
      ["run", "-o", "json", "--dry-run", "--localdir", folder, "--seed=1", "--gpus=2"].concat([
        "t.py",
        "--a",
        "[1, 'x']",
      ]),
    );
    expect(JSON.parse(out)).toMatchObject({
      trials: 2,
      seed: 1,
      strategy: "grid_search",
      parameters: [{ key: "a", swept: true, counts: [2] }],
      resources: { cpus: 2, gpus: 4, memory: 0 },
      refused: null,
      warnings: [],
      commands: [
        { experiment: 0, command: ["python3", "t.py", "--a", "1"], env: {}, params: { a: 1 } },
        { experiment: 1, command: ["python3", "t.py", "--a", "x"], env: {}, params: { a: "x" } },
      ],
      config: expect.stringContaining("program: t.py"),
    });
  });
});

describe("PROGRAM", () => {
  test.for([
    ["t.py", "python3 t.py"],
    ["t.mjs", "node t.mjs"],
    ["t.ts", "node t.ts"],
    ["t.sh", "sh t.sh"],
    ["sub/deep.py", "python3 sub/deep.py"],
    ["./sub/../t.py", "python3 t.py"],
    ["run", "./run"],
    ["./run", "./run"],
    ["env", "env"],
  ] as const)("%s is %s", async ([program, command]) => {
    expect(await commands(program)).toEqual([command]);
    expect(await commands("--", program)).toEqual([command]);
  });
  test("an absolute path in the project is relative there; one outside stays", async () => {
    expect(await commands(join(folder, "sub/deep.py"))).toEqual(["python3 sub/deep.py"]);
    expect(await commands("/bin/sh")).toEqual(["/bin/sh"]);
    const bare = await runMain(["run", "--dry-run", "--no-localdir", "--seed=1", join(folder, "t.py")]);
    expect(bare.out).toContain(`\npython3 ${join(folder, "t.py")}\n`);
  });
  test.for([
    ["nothing.py", 'there is no file "nothing.py"'],
    ["no-such-program", "nor is it a program on PATH"],
    ["./nothing", 'there is no file "./nothing"'],
    ["plain", "plain is not executable: chmod +x plain"],
    ["sub", 'there is no file "sub"'],
  ] as const)("%s is refused", async ([program, message]) => {
    expect(await refusal(program)).toContain(message);
  });
  test("none at all, or a flag that is none", async () => {
    expect((await runMain(["run"])).err).toContain("which program?");
    expect((await runMain(["run", "--cpu", "3", "t.py"])).err).toContain("--cpus");
    expect((await runMain(["run", "--cpus"])).code).toBe(2);
  });
});

describe("flags with a wrong value", () => {
  test.for([
    [["--memory", "10"], /--memory "10": write the unit too: 10G/],
    [["--memory", "lots"], /--memory "lots".*10G/],
    [["--cpus", "-1"], /--cpus "-1": write a number/],
    [["--name", "Big_Run"], /--name "Big_Run": use lower case letters/],
    [["--name", "-x"], /--name "-x"/],
    [["--metric", "loss:least"], /--metric "loss:least".*min or max/],
    [["--strategy", "grid"], /--strategy "grid": write grid_search/],
    [["--seed", "4294967296"], /--seed.*4294967295/],
    [["--timeout", "0"], /--timeout/],
    [["--repeat", "0"], /--repeat/],
    [["--datastore_mount_dir", "/data"], /relative path; RAIN_DATASTORE/],
    [["--datastore_mount_dir", "../x"], /inside the trial's folder/],
    [["--datastore_version", "2"], /--datastore_name NAME/],
    [["--fail-fast", "--max-fails", "3"], /choose one/],
    [["--disk_size", "big"], /gigabytes/],
    [["--config", "nothing.yml"], /no file nothing.yml/],
  ] as const)("%j", async ([flags, message]) => {
    expect(await refusal(...flags, "t.py")).toMatch(message);
  });
});

test("without a server: the remedies, and nothing is asked when there is no terminal", async () => {
  const home = await mkdtemp(join(tmpdir(), "rain-run-home-"));
  const before = process.env["RAIN_HOME"];
  process.env["RAIN_HOME"] = home;
  try {
    const { code, out, err } = await runMain(["run", "--localdir", folder, "t.py"], {});
    expect({ code, out }).toEqual({ code: 69, out: "" });
    for (const part of ["rain start --simple", "rain run --local", "--access-file"])
      expect(err).toContain(part);
    const named = await runMain(["run", "--credential", "gpu", "--localdir", folder, "t.py"], {});
    expect(named.err).toContain(join(home, "gpu", "access.json"));
  } finally {
    if (before === undefined) delete process.env["RAIN_HOME"];
    else process.env["RAIN_HOME"] = before;
    await rm(home, { recursive: true });
  }
});
