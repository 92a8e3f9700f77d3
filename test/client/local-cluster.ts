import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "@rain/client";
import { startGovernor } from "@rain/governor";
import { loadAccess } from "@rain/protocol/access";
import { startServer, type RunningServer } from "@rain/server";

/** The real server and a real governor, all in this process; programs are real processes. */
export interface LocalCluster {
  /** Of this cluster alone; removed at its end. */
  readonly folder: string;
  readonly server: RunningServer;
  readonly client: Client;
  readonly stop: () => Promise<void>;
}

const log = (): void => undefined;

/** `named` and `labels` are what its governor g1 offers beside four cpus. */
export async function startLocalCluster(
  named: Readonly<Record<string, number>> = {},
  labels: Readonly<Record<string, string>> = {},
): Promise<LocalCluster> {
  const folder = await mkdtemp(join(tmpdir(), "rain-client-e2e-"));
  const listen = { host: "127.0.0.1", port: 0 };
  const server = await startServer({
    instanceDir: join(folder, "instance"),
    listen,
    version: "0.0.0-test",
    log,
  });
  const { keys, clusterId } = await loadAccess(server.accessFile);
  const governor = await startGovernor({
    serverUrl: server.url,
    key: keys.governor ?? "",
    clusterId,
    workdir: join(folder, "governor"),
    name: "g1",
    capacity: { cpus: 4, gpus: 0, memory: 1024 ** 3, named },
    labels,
    log,
  });
  await governor.registered();
  const client = await Client.connect({ accessFile: server.accessFile });
  const stop = async (): Promise<void> => {
    await client.close();
    await governor.stop();
    await server.stop();
    await rm(folder, { recursive: true, force: true });
  };
  return { folder, server, client, stop };
}
