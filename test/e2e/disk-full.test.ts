import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "@rain/client";
import { afterEach, expect, it } from "vitest";
import { launchRain, until } from "./cluster.ts";

/** A file system of 4 MiB; undefined where this user may not mount one. */
function mountSmallDisk(): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), "rain-small-disk-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], { stdio: "ignore" });
    return folder;
  } catch {
    rmSync(folder, { recursive: true });
    return undefined;
  }
}
const disk = mountSmallDisk();
afterEach(() => {
  if (disk === undefined) return;
  execFileSync("umount", [disk]);
  rmSync(disk, { recursive: true });
});

it.skipIf(disk === undefined)(
  "a full disk at the journal: nothing is acknowledged that is not there, exit 74, and a restart goes on",
  async () => {
    const home = disk ?? "";
    const env = { RAIN_HOME: home };
    const start = (): ReturnType<typeof launchRain> => launchRain(["server", "--listen", "127.0.0.1:0"], env);
    const accessFile = join(home, "default", "access.json");
    const connect = (): Promise<Client | false> =>
      Client.connect({ accessFile, reconnectS: 0 }).catch(() => false);

    const server = start();
    const client = await until(connect);
    const session = await client.newSession("fills the disk", { detached: true });
    let acknowledged = 0;
    let refused: unknown;
    while (refused === undefined) {
      for (let n = 0; n < 50; n++) session.execute(["echo", "x".repeat(2_000)]);
      try {
        await session.submit();
        acknowledged += 50;
      } catch (error) {
        refused = error;
      }
    }
    const ended = await server;
    expect(ended.exitCode).toBe(74);
    expect(ended.all).toContain("ENOSPC");
    expect(ended.all).toContain(join(home, "default", "journal"));
    await client.close();

    // Room again: everything acknowledged is there, and nothing of what was not.
    execFileSync("mount", ["-o", "remount,size=16m", home]);
    const again = start();
    const second = await until(connect);
    const info = await second.serverInfo();
    const counts = info.sessions[0]?.counts;
    expect(counts && Object.values(counts).reduce((a, b) => a + b, 0)).toBe(acknowledged);
    await second.close();
    again.kill("SIGTERM");
    await again;
  },
  120_000,
);
