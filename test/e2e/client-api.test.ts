import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { execa } from "execa";
import { afterAll, expect, it } from "vitest";
import { Cluster } from "./cluster.ts";

const root = resolve(import.meta.dirname, "../..");
const cluster = await Cluster.start([2]);
afterAll(() => cluster.stop());

/** The script of the client library's contract, as it stands there; only the names that it leaves open are given. */
const contract = `
import { Client } from "@rain/client";
const { URL, PROGRAM, PORT } = process.env;
const sizes = [4, 8], dropouts = [0, 0.2];

const client = await Client.connect("localhost", Number(PORT));
const session = await client.newSession("MNIST test");
const data = session.execute(\`curl -sSf -o digits.csv.gz \${URL}\`, { outputPaths: ["digits.csv.gz"], name: "download" });
const runs = sizes.flatMap((size) => dropouts.map((dropout) =>
  session.execute(["node", PROGRAM, "--data", data, "--size", String(size), "--dropout", String(dropout)],
                  { stdout: true, name: \`mnist size=\${size} dropout=\${dropout}\` })));
for (const run of runs) run.output.keep();
await session.submit();
const accuracies = await Promise.all(runs.map(async (run) => Number((await run.output.fetch()).text())));
await session.close();  await client.close();
console.log(JSON.stringify(accuracies));
`;

it("the contract's script runs", async () => {
  const bytes = await readFile(join(root, "examples/digits/digits.csv.gz"));
  const files = createServer((_request, response) => response.end(bytes));
  await new Promise<void>((done) => files.listen(0, "127.0.0.1", done));
  const folder = await mkdtemp(join(root, "examples", ".contract-"));
  try {
    const script = join(folder, "script.mjs");
    await writeFile(script, contract);
    const access = JSON.parse(await readFile(cluster.accessFile, "utf8")) as { url: string };
    const { stdout } = await execa("node", [script], {
      env: {
        RAIN_HOME: cluster.home,
        URL: `http://127.0.0.1:${(files.address() as AddressInfo).port}/digits.csv.gz`,
        PROGRAM: join(root, "examples/digits/train.mjs"),
        PORT: new URL(access.url).port,
      },
    });
    const accuracies = JSON.parse(stdout) as number[];
    expect(accuracies).toHaveLength(4);
    expect(Math.min(...accuracies)).toBeGreaterThan(0.5);
  } finally {
    files.close();
    await rm(folder, { recursive: true });
  }
}, 120_000);
