import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { errorCatalogue, limits } from "@rain/protocol";
import { describe, expect, it } from "vitest";

/** The house rules that no linter knows, over the files that git tracks. */
const root = resolve(import.meta.dirname, "../..");
const files = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], {
  cwd: root,
  encoding: "utf8",
})
  .split("\n")
  .filter((name) => name !== "" && existsSync(join(root, name)));
const read = (name: string): string => readFileSync(join(root, name), "utf8");
const sources = files.filter((name) => /^packages\/[^/]+\/src\/.*\.ts$/.test(name));
const code = new Map(sources.map((name) => [name, read(name)]));
const without = (skipped: RegExp): string =>
  [...code]
    .filter(([name]) => !skipped.test(name))
    .map(([, text]) => text)
    .join("\n");

describe("documentation", () => {
  it("has no link that leads nowhere", () => {
    const dead: string[] = [];
    for (const name of files.filter((each) => each.endsWith(".md"))) {
      for (const [, link = ""] of read(name).matchAll(/\]\((?!https?:)([^)#\s]+)/g)) {
        if (!existsSync(join(root, dirname(name), link))) dead.push(`${name}: ${link}`);
      }
    }
    expect(dead).toEqual([]);
  });
  it("names only files that exist in the code map", () => {
    const named = [
      ...read("ARCHITECTURE.md").matchAll(/`(packages\/[\w/.-]+|test\/[\w/.-]+|bench\/|examples\/)`/g),
    ];
    expect(named.map(([, path = ""]) => path).filter((path) => !existsSync(join(root, path)))).toEqual([]);
  });
});

describe("the cases of docs/failures.md", () => {
  const rows = [...read("docs/failures.md").matchAll(/^\| (\d+) +\| (.*?) *\| (.*?) *\|$/gm)];
  it("are all of 1 to 52, in order", () => {
    expect(rows.map(([, number]) => Number(number))).toEqual(Array.from({ length: 52 }, (_, at) => at + 1));
  });
  it("are named by the tests that show them, or say why there is none", () => {
    const wrong = rows.flatMap(([, number = "", , shown = ""]) => {
      // The table's own files come first; what is said after them may name others.
      const named = [...shown.matchAll(/(?:^|, )`(test\/[\w/.-]+\.test\.ts)`/g)].map(([, file = ""]) => file);
      if (named.length === 0 && !shown.startsWith("not tested: "))
        return [`case ${number}: no test, no reason`];
      const title = new RegExp(`\\bcases? (?:\\d+, |\\d+ and )*${number}\\b`);
      return named
        .filter((file) => !existsSync(join(root, file)) || !title.test(read(file)))
        .map((file) => `case ${number}: ${file}`);
    });
    expect(wrong).toEqual([]);
  });
});

describe("protocol", () => {
  it("has no limit and no error code that nothing uses", () => {
    const text = without(/protocol\/src\/limits\.ts$/);
    expect(Object.keys(limits).filter((name) => !text.includes(`limits.${name}`))).toEqual([]);
    const users = without(/protocol\/src\/errors\.ts$/);
    expect(Object.keys(errorCatalogue).filter((name) => !users.includes(`"${name}"`))).toEqual([]);
  });
});

describe("names", () => {
  it("are those of the glossary", () => {
    // What the field calls by several names has one here: docs/glossary.md.
    const foreign =
      /\b(?:class|interface|type|function|const|let) \w*(?:[jJ]ob|[wW]orker|[mM]aster|[sS]lave)\w*/;
    const found = [...code].flatMap(([name, text]) => {
      const hit = foreign.exec(text);
      return hit ? [`${name}: ${hit[0]}`] : [];
    });
    expect(found).toEqual([]);
  });
});

describe("cores", () => {
  it("import the protocol and their own files only", () => {
    const foreign = [...code].flatMap(([name, text]) =>
      /\/src\/core\//.test(name)
        ? [...text.matchAll(/from "([^"]+)"/g)]
            .map(([, from = ""]) => from)
            .filter((from) => !/^(\.\/|@rain\/protocol$)/.test(from))
            .map((from) => `${name}: ${from}`)
        : [],
    );
    expect(foreign).toEqual([]);
  });
});
