import { describe, expect, test } from "vitest";
import { DEFAULT_PORT } from "@rain/protocol";
import * as read from "../../packages/cli/src/options.ts";

/** The message of a usage error, which has exit code 2. */
function usage(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    expect((error as { exitCode: number }).exitCode).toBe(2);
    return (error as Error).message;
  }
  throw new Error("no usage error");
}

describe("addresses", () => {
  test("host and port, port defaulting to that of the protocol", () => {
    expect(read.parseAddress("A", "localhost:80")).toEqual({ host: "localhost", port: 80 });
    expect(read.parseAddress("A", "node-1.example")).toEqual({ host: "node-1.example", port: DEFAULT_PORT });
    expect(read.parseAddress("A", "[::1]:9")).toEqual({ host: "::1", port: 9 });
    expect(read.parseAddress("A", "[::1]")).toEqual({ host: "::1", port: DEFAULT_PORT });
    expect(read.formatAddress({ host: "::1", port: 9 })).toBe("[::1]:9");
  });

  test.each(["", "a:b", "a:70000", "a:-1", "::1", "a b", "a:1:2", "[::1]x", "http://a"])(
    "refuses %j",
    (text) => {
      expect(usage(() => read.parseAddress("ADDRESS", text))).toContain("ADDRESS");
    },
  );

  test("a server listens on loopback unless a host is named", () => {
    expect(read.parseListen("--listen", "0")).toEqual({ host: "127.0.0.1", port: 0 });
    expect(read.parseListen("--listen", "localhost:8")).toEqual({ host: "localhost", port: 8 });
    expect(read.parseListen("--listen", "0.0.0.0:7300")).toEqual({ host: "0.0.0.0", port: 7300 });
    expect(read.parseHost("--listen", "[fd00::1]")).toBe("fd00::1");
    expect(usage(() => read.parseHost("--listen", "a/b"))).toContain("--listen");
  });
});

test("cpus", () => {
  expect(read.parseCpus("--cpus", "4")).toBe(4);
  expect(read.parseCpus("--cpus", "-1")).toBe(-1);
  expect(read.parseCpus("--cpus", "detect")).toBe("detect");
  for (const text of ["0", "1.5", "all", "", "--", "1e3"])
    expect(usage(() => read.parseCpus("--cpus", text))).toContain("--cpus");
});

test("local governors, with and without brackets", () => {
  expect(read.parseLocalGovernors("L", "[4,4,2]")).toEqual([4, 4, 2]);
  expect(read.parseLocalGovernors("L", "4, 2")).toEqual([4, 2]);
  for (const text of ["", "[]", "[4", "4,,2", "0", "-1", "4;2"])
    usage(() => read.parseLocalGovernors("L", text));
  usage(() => read.parseLocalGovernors("L", Array.from({ length: 257 }, () => "1").join(",")));
});

test("memory", () => {
  expect(read.parseMemory("M", "8G")).toBe(8 * 2 ** 30);
  expect(read.parseMemory("M", "1.5k")).toBe(1_536);
  expect(read.parseMemory("M", "512MiB")).toBe(512 * 2 ** 20);
  expect(read.parseMemory("M", "100")).toBe(100);
  for (const text of ["", "G", "-1G", "8X", "1e3", "999999999999999T"])
    usage(() => read.parseMemory("M", text));
});

test("resources, labels, names, counts, seconds and tasks", () => {
  expect(read.parseResource("R", "licence=2")).toEqual(["licence", 2]);
  expect(usage(() => read.parseResource("R", "cpus=2"))).toContain("--cpus");
  for (const text of ["licence", "=2", "1x=2", "x=-1", "x=one"]) usage(() => read.parseResource("R", text));
  expect(read.parseLabel("L", "zone=a=b")).toEqual(["zone", "a=b"]);
  usage(() => read.parseLabel("L", "=x"));
  expect(read.parseName("N", "rack1.node-2")).toBe("rack1.node-2");
  for (const text of ["", "../x", ".x", "a/b", "x".repeat(65), "a b"]) usage(() => read.parseName("N", text));
  expect(read.parseCount("C", "0")).toBe(0);
  usage(() => read.parseCount("C", "1.5"));
  expect(read.parseSeconds("S", "0.5")).toBe(0.5);
  for (const text of ["0", "-1", "x", "Infinity"]) usage(() => read.parseSeconds("S", text));
  expect(read.parseTaskRef("3/17")).toEqual({ session: 3, task: 17 });
  for (const text of ["3", "3/", "/1", "3/o1", "-3/1", "3/1/2"]) usage(() => read.parseTaskRef(text));
});
