import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { expect, test } from "vitest";
import { Home } from "./rain.ts";
import { noSlurm, Slurm } from "./slurm.ts";

const rain = fileURLToPath(new URL("../../packages/cli/bin/rain.mjs", import.meta.url));

test.skipIf(noSlurm !== undefined)(
  `a real srun starts a cluster on its nodes${noSlurm === undefined ? "" : ` (${noSlurm})`}`,
  { timeout: 240_000 },
  async () => {
    const home = await Home.make();
    let slurm: Slurm | undefined;
    try {
      slurm = await Slurm.start(home.path("slurm"));
      const wanted = Math.min(2, cpus().length);
      const command = `${process.execPath} ${rain}`;
      const script = `${command} start --autoconf=slurm --listen=0 >&2 && ${command} governors -o json; ${command} stop >&2`;
      const { stdout, stderr, exitCode } = await execa("srun", ["-n1", `-c${wanted}`, "sh", "-c", script], {
        env: { ...home.env, SLURM_CONF: slurm.conf },
        extendEnv: false,
        reject: false,
      });
      expect({ exitCode, stderr: exitCode === 0 ? "" : stderr }).toEqual({ exitCode: 0, stderr: "" });
      const { governors } = JSON.parse(stdout) as { governors: readonly { capacity: object }[] };
      expect(governors).toMatchObject([{ capacity: { cpus: wanted } }]);
      expect(home.daemons()).toEqual([]);
    } finally {
      await slurm?.stop();
      await home.remove();
    }
  },
);
