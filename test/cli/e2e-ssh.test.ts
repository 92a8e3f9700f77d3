import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Client } from "@rain/client";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Home } from "./rain.ts";
import { noSshd, Sshd } from "./sshd.ts";

const rain = fileURLToPath(new URL("../../packages/cli/bin/rain.mjs", import.meta.url));
const limit = { timeout: 240_000 };

interface Started {
  readonly governors: readonly { readonly name: string; readonly pid: number; readonly host?: string }[];
}
interface Governors {
  readonly governors: readonly {
    readonly name: string;
    readonly state: string;
    readonly draining: boolean;
    readonly labels: Record<string, string>;
    readonly capacity: { readonly cpus: number };
  }[];
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return ""; // it ended since it was listed
  }
}

describe.skipIf(noSshd !== undefined)(
  `a cluster over ssh${noSshd === undefined ? "" : ` (${noSshd})`}`,
  () => {
    let home: Home;
    let sshd: Sshd;
    beforeEach(async () => {
      home = await Home.make();
      sshd = await Sshd.start(home.path("sshd"));
    });
    afterEach(async () => {
      await home.rain("stop", "--grace=3");
      await sshd.stop();
      await home.remove();
    }, 60_000);

    /** The home of the other machines: all that is started over ssh lives there. */
    const there = (): string => home.path("there");
    const flags = (): string[] => sshd.options.map((option) => `--ssh-option=${option}`);
    const prefix = (): string => `env RAIN_HOME=${there()} ${process.execPath} ${rain}`;
    const hostFile = (...lines: string[]): string => {
      writeFileSync(home.path("hosts"), lines.join("\n"));
      return home.path("hosts");
    };
    const start = (file: string, ...more: string[]): string[] => [
      "start",
      `--governor-host-file=${file}`,
      "--listen=0",
      `--runprefix=${prefix()}`,
      ...flags(),
      ...more,
    ];
    const commandLines = (): string[] =>
      readdirSync("/proc")
        .filter((name) => /^\d+$/.test(name))
        .map(commandLine);
    /** What runs here or "there", but sshd itself. */
    const left = (): string[] =>
      commandLines().filter(
        (line) => line.includes(home.dir) && !line.startsWith("sshd") && !/sshd\0-D/.test(line),
      );

    test(
      "a server with TLS is reached through the tunnels too, and its certificate checked",
      limit,
      async () => {
        const file = hostFile(`${sshd.address} name=a cpus=1`);
        const { url } = await home.json<{ url: string }>(...start(file, "--listen=0.0.0.0:0"));
        expect(url).toMatch(/^https:/);
        const client = await Client.connect({ accessFile: home.path("default", "access.json") });
        const session = await client.newSession();
        const big = session.execute(["head", "-c", "300000", "/dev/zero"], { stdout: true });
        const copy = session.execute(["cat", big], { stdout: true });
        copy.keepOutputs();
        await session.submit();
        expect((await copy.output.fetch()).bytes()).toHaveLength(300_000);
        await client.close();
      },
    );

    test(
      "two governors run a sweep together, share results, are drained, and stop clean",
      limit,
      async () => {
        const file = hostFile(
          "# the machines of the test",
          `${sshd.address} name=a cpus=2 label.zone=a resource.lab=1`,
          "",
          `${sshd.address} cpus=1 name=b label.zone=b label.room="the cellar"   # quoted`,
        );
        const started = await home.json<Started>(
          ...start(file, "--local-governors=1", "--remote-init=echo a greeting; export GREETED=yes"),
        );
        expect(started.governors.map(({ name, host }) => [name, host])).toEqual([
          ["local-1", undefined],
          ["a", sshd.address],
          ["b", sshd.address],
        ]);
        // The other machines have the governor's key only, for their owner only; it is in no command line.
        const instances = readdirSync(there());
        expect(instances).toHaveLength(2);
        for (const name of instances) {
          const access = join(there(), name, "access.json");
          expect(statSync(access).mode & 0o777).toBe(0o600);
          const { keys } = JSON.parse(readFileSync(access, "utf8")) as { keys: Record<string, string> };
          expect(Object.keys(keys)).toEqual(["governor"]);
        }
        expect(commandLines().filter((line) => /rain[cgv]_[A-Za-z0-9_-]{20}/.test(line))).toEqual([]);

        const listed = await home.json<Governors>("governors");
        expect(
          listed.governors
            .toSorted((a, b) => a.name.localeCompare(b.name))
            .map(({ name, labels, capacity }) => [name, labels, capacity.cpus]),
        ).toEqual([
          ["a", { zone: "a" }, 2],
          ["b", { zone: "b", room: "the cellar" }, 1],
          ["local-1", {}, 1],
        ]);

        const client = await Client.connect({ accessFile: home.path("default", "access.json") });
        try {
          const session = await client.newSession("over ssh");
          // More than what rides in a report: governors read it from one another, through the tunnels and the server.
          const make = (zone: string | undefined, letter: string) =>
            session.execute(["sh", "-c", `head -c 300000 /dev/zero | tr '\\0' ${letter}; printf $GREETED`], {
              stdout: true,
              ...(zone === undefined ? {} : { labels: { zone } }),
            });
          const second = make("b", "y");
          const big = [make("a", "x"), second, session.execute("seq 60000", { stdout: true, cpus: 1 })];
          const runs = ["a", "b"].flatMap((zone) =>
            Array.from({ length: 6 }, (_, n) =>
              session.execute(["sh", "-c", `cat "$@" | wc -c; echo ${n}`, "sh", ...big], {
                stdout: true,
                labels: { zone },
              }),
            ),
          );
          for (const run of runs) run.output.keep();
          second.output.keep();
          await session.submit();
          const texts = await Promise.all(runs.map(async (run) => (await run.output.fetch()).text()));
          const bytes =
            300_003 +
            300_003 +
            Buffer.byteLength(Array.from({ length: 60_000 }, (_, n) => `${n + 1}\n`).join(""));
          expect(texts).toEqual(runs.map((_, n) => `${bytes}\n${n % 6}\n`));
          const fetched = (await second.output.fetch()).bytes();
          expect(Buffer.from(fetched).toString("latin1")).toBe(`${"y".repeat(300_000)}yes`);
          for (const run of runs) await run.update();
          expect(new Set(runs.map((run) => run.info.governor))).toEqual(new Set(["a", "b"]));

          // What a task wrote is read from its governor through the tunnel.
          const logs = await home.rain("logs", `${session.id}/${runs[11]?.id}`, "--stream=stdout");
          expect(logs.out).toBe(texts[11]);

          // A drained governor stops by itself when nothing needs it any more.
          await session.close();
          await home.json("governors", "drain", "b");
          const names = async (): Promise<string[]> =>
            (await home.json<Governors>("governors")).governors.map(({ name }) => name).toSorted();
          await expect.poll(names, { timeout: 60_000, interval: 200 }).toEqual(["a", "local-1"]);
        } finally {
          await client.close();
        }

        // The hosts of the running cluster get a file; the same machine once.
        writeFileSync(home.path("data.txt"), "for all");
        const copied = await home.json<{ hosts: unknown[] }>("scp", "data.txt", home.path("copied.txt"));
        expect(copied.hosts).toEqual([{ host: sshd.address }]);
        expect(readFileSync(home.path("copied.txt"), "utf8")).toBe("for all");
        const again = await home.rain(
          "scp",
          "data.txt",
          home.path("again.txt"),
          "--governor-host-file",
          file,
          ...flags(),
        );
        expect(again).toMatchObject({ code: 0 });
        expect(existsSync(home.path("again.txt"))).toBe(true);

        const { stopped } = await home.json<{ stopped: { name: string }[] }>("stop");
        expect(stopped.map(({ name }) => name).toSorted()).toEqual(["a", "b", "local-1", "server"]);
        expect(left()).toEqual([]);
        expect(readdirSync(home.path("default", "run"))).toEqual([]);
        for (const name of readdirSync(there()))
          expect(existsSync(join(there(), name, "access.json"))).toBe(false);
      },
    );

    test("a stop ends remote governors although the server was killed", limit, async () => {
      const { governors } = await home.json<Started>(...start(hostFile(`${sshd.address} name=a cpus=1`)));
      const [server] = home.daemons();
      process.kill(server?.pid ?? 0, "SIGKILL");
      expect(governors).toHaveLength(1);
      expect(await home.rain("stop", "--grace=5")).toMatchObject({ code: 0 });
      expect(left()).toEqual([]);
    });

    test("a connection that breaks loses its governor, and a stop still ends it", limit, async () => {
      await home.json<Started>(...start(hostFile(`${sshd.address} name=a cpus=1`), "--lease=2"));
      const pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
      const tunnel = pids.find(
        (pid) => /^ssh: .*ssh-a|^ssh\0.*-M\0/.test(commandLine(pid)) && commandLine(pid).includes(home.dir),
      );
      expect(tunnel).toBeDefined();
      process.kill(Number(tunnel), "SIGKILL");
      const names = async (): Promise<string[]> =>
        (await home.json<Governors>("governors")).governors.map(({ name }) => name);
      await expect.poll(names, { timeout: 30_000, interval: 200 }).toEqual([]);
      expect(await home.rain("stop", "--grace=2")).toMatchObject({ code: 0 });
      expect(left()).toEqual([]);
    });

    test("a start that is interrupted leaves nothing anywhere", limit, async () => {
      const file = hostFile(`${sshd.address} name=a cpus=1`);
      const here = home.path("here");
      // The first time it waits, as a slow host does.
      const init = `--remote-init=[ -e ${here} ] || { echo $$ > ${here}; sleep 600; }`;
      const begun = home.spawn(...start(file, init));
      await expect.poll(() => home.read("here"), { timeout: 60_000 }).toMatch(/^\d+\n$/);
      begun.child.kill("SIGINT");
      expect(await begun.ended).toBe(130);
      process.kill(-Number(home.read("here")), "SIGKILL"); // what the shell line was doing over there
      await expect.poll(left, { timeout: 30_000 }).toEqual([]);
      expect(readdirSync(home.path("default", "run"))).toEqual([]);
    });

    test("a start that fails on one host leaves nothing anywhere", limit, async () => {
      const good = `${sshd.address} name=a cpus=1`;
      const closed = await home.rain(
        ...start(hostFile(good, `${sshd.address} name=b cpus=1 config=${home.path("no.toml")}`)),
      );
      expect(closed.code).toBe(1);
      expect(closed.err).toMatch(/governor b on .* did not start/);
      expect(closed.err).toContain("no.toml");
      expect(left()).toEqual([]);

      const unknown = await home.rain(...start(hostFile(good, "nobody-of-ours@127.0.0.1 name=b")));
      expect(unknown.code).toBe(1);
      expect(unknown.err).toContain("nobody-of-ours@127.0.0.1");
      expect(unknown.err).toContain("Permission denied");
      expect(left()).toEqual([]);
      expect(readdirSync(home.path("default", "run"))).toEqual([]);

      const wrong = await home.rain(...start(hostFile(good)), "--runprefix=no-such-rain");
      expect(wrong.code).toBe(1);
      expect(wrong.err).toContain("--runprefix");
      expect(left()).toEqual([]);
    });
  },
);
