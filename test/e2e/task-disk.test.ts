import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TaskError } from "@rain/client";
import { expect, it } from "vitest";
import { Cluster } from "./cluster.ts";

/** A file system of 16 MiB; undefined where this user may not mount one. */
function mountSmallDisk(): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), "rain-small-disk-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=16m,mode=700", "tmpfs", folder], { stdio: "ignore" });
    return folder;
  } catch {
    rmSync(folder, { recursive: true });
    return undefined;
  }
}
const disk = mountSmallDisk();

it.skipIf(disk === undefined)(
  "case 28: a task that fills the disk fails, and its governor goes on with what it has",
  async () => {
    const folder = disk ?? "";
    const cluster = await Cluster.start([]);
    try {
      await cluster.startGovernor("g0", 1, ["--workdir", join(folder, "work")]);
      const client = await cluster.connect();
      const session = await client.newSession("fills the disk", { onError: "continue" });
      const kept = session.execute(["sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' k"], { stdout: true });
      kept.output.keep();
      await session.submit();
      await kept.wait();
      const fills = [
        session.execute(["sh", "-c", "head -c 100000000 /dev/zero > large"], { outputPaths: ["large"] }),
        session.execute(["sh", "-c", "head -c 100000000 /dev/zero"], { stdout: true }),
      ];
      await session.submit();
      for (const task of fills) {
        const error = (await task.wait().catch((caught: unknown) => caught)) as TaskError;
        expect(error.message).toMatch(/no space left on the disk of the governor/i);
      }
      expect((await kept.output.fetch()).bytes().length).toBe(1_000_000);
      // What they had taken is free again.
      const next = session.execute(["sh", "-c", "head -c 5000000 /dev/zero | tr '\\0' n"], { stdout: true });
      next.output.keep();
      await session.submit();
      expect((await next.output.fetch()).bytes().length).toBe(5_000_000);
      await session.close();
      await client.close();
    } finally {
      await cluster.stop();
      execFileSync("umount", [folder]);
      rmSync(folder, { recursive: true });
    }
  },
  120_000,
);
