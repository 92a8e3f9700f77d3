import { mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AuditLog } from "@rain/protocol/audit";
import { afterEach, beforeEach, expect, test } from "vitest";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "rain-audit-"));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

const entry = (at: number): { verb: string; result: "accepted"; remote: string; target: string } => ({
  verb: "submit",
  result: "accepted",
  remote: "127.0.0.1:1",
  target: String(at),
});
const fail = (error: unknown): never => {
  throw error;
};

test("lines go on after a restart, are the owner's alone, and old files make room", async () => {
  for (let start = 0; start < 2; start++) {
    const log = new AuditLog(folder, fail, 1_000);
    for (let at = 0; at < 100; at++) log.write(entry(start * 100 + at));
    log.close();
  }
  const names = (await readdir(folder)).toSorted();
  expect(names).toEqual(["audit.1.jsonl", "audit.2.jsonl", "audit.3.jsonl", "audit.4.jsonl", "audit.jsonl"]);
  const newestLast = [...names.filter((name) => name !== "audit.jsonl").toReversed(), "audit.jsonl"];
  const targets: number[] = [];
  for (const name of newestLast) {
    expect((await stat(join(folder, name))).mode & 0o777).toBe(0o600);
    const text = await readFile(join(folder, name), "utf8");
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(1_000);
    for (const line of text.trimEnd().split("\n"))
      targets.push(Number((JSON.parse(line) as { target: string }).target));
  }
  // The last lines, all of them, in their order.
  expect(targets).toEqual(Array.from({ length: targets.length }, (_, at) => 200 - targets.length + at));
  expect(targets.length).toBeGreaterThan(20);
});

test("a link in the place of the file is not followed", async () => {
  await writeFile(join(folder, "other"), "");
  await symlink(join(folder, "other"), join(folder, "audit.jsonl"));
  expect(() => new AuditLog(folder, fail)).toThrow("ELOOP");
});

test("what cannot be written is told once, until it can be again", async () => {
  const problems: unknown[] = [];
  const log = new AuditLog(folder, (error) => problems.push(error), 200);
  log.write(entry(1));
  await rm(folder, { recursive: true });
  // Full: the file is to be renamed, and its folder is gone.
  for (let at = 0; at < 5; at++) log.write({ ...entry(at), detail: "x".repeat(150) });
  expect(problems).toHaveLength(1);
});
