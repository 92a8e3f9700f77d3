import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { splitWords } from "../../packages/client/src/words.ts";

/** How a real shell splits the line, with no expansion in it. */
function shellWords(line: string): string[] {
  const script = `for word in ${line}\ndo printf '%s\\0' "$word"; done`;
  const words = execFileSync("/bin/sh", ["-fc", script], { stdio: ["ignore", "pipe", "ignore"] }).toString();
  return words.split("\0").slice(0, -1);
}

const lines = [
  `curl -sSf -o digits.csv.gz http://host/x`,
  `a "b c" 'd  e' f\\ g`,
  `"" '' x""y`,
  `"a\\"b" 'a\\b' "a\\b" "a\\\\b" a\\\\b`,
  `'a\\\\'"b"`,
  `"\\$HOME" \\$HOME "\\\`x"`,
  `--flag="x y"z'q'`,
  "a\tb   c",
  `x\\\ny "p\\\nq"`,
  `\\' \\" \\\\`,
  `"it's" 'say "hi"'`,
  `"tab	and
newline"`,
];
test.each(lines)("splits %j as /bin/sh does", (line) => {
  expect(splitWords("execute", line)).toEqual(shellWords(line));
});

test("splits random lines as /bin/sh does", () => {
  let seed = 7;
  const random = (below: number): number => (seed = (seed * 48_271) % 2_147_483_647) % below;
  const alphabet = ["a", "b", " ", " ", "'", '"', "\\", "-"];
  let compared = 0;
  for (let round = 0; round < 300 && compared < 60; round++) {
    const line = Array.from({ length: 12 }, () => alphabet[random(alphabet.length)]).join("");
    let ours: string[];
    try {
      ours = splitWords("execute", line);
    } catch {
      continue; // not closed: a shell would read on
    }
    if (ours.length === 0) continue;
    expect(ours, JSON.stringify(line)).toEqual(shellWords(line));
    compared++;
  }
  expect(compared).toBe(60);
});

test("nothing is expanded", () => {
  expect(splitWords("execute", "echo $HOME * > x | y # z")).toEqual("echo $HOME * > x | y # z".split(" "));
});

test.each([`a "b`, `a 'b`, `a\\`, `"x\\"`])("%j is not closed", (line) => {
  expect(() => splitWords("execute", line)).toThrow(TypeError);
});
