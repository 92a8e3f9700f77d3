import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Client, DataObject, Session, SessionOptions, Task } from "@rain/client";
import { afterAll, beforeAll } from "vitest";
import { Cluster, until } from "../cluster.ts";

/** One cluster for a file of tests, with a client, and a folder that both the client and the governors see. */
export interface Rain {
  readonly cluster: Cluster;
  readonly client: Client;
  readonly folder: string;
  /** Runs a test in a session of its own, which is closed after it. */
  session<T>(run: (session: Session) => Promise<T>, options?: SessionOptions): Promise<T>;
}

/** Starts it before the tests of the file, with a governor for each number of cpus. */
export function useRain(cpus: readonly number[]): Rain {
  let cluster: Cluster | undefined;
  let client: Client | undefined;
  let folder = "";
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "rain-cases-"));
    cluster = await Cluster.start(cpus);
    client = await cluster.connect();
  }, 120_000);
  afterAll(async () => {
    await client?.close();
    await cluster?.stop();
    await rm(folder, { recursive: true, force: true });
  }, 120_000);
  const there = <T>(value: T | undefined): T => {
    if (value === undefined) throw new Error("the cluster is not started");
    return value;
  };
  return {
    get cluster() {
      return there(cluster);
    },
    get client() {
      return there(client);
    },
    get folder() {
      return folder;
    },
    async session(run, options) {
      const session = await there(client).newSession("case", options);
      try {
        return await run(session);
      } finally {
        await session.close();
      }
    },
  };
}

/** The text of a kept object, or of a task's one output. */
export const textOf = async (of: Task | DataObject): Promise<string> =>
  (await ("output" in of ? of.output : of).fetch()).text();

/** Waits until no governor has a task or an object. */
export async function untilEmpty(client: Client): Promise<void> {
  await until(async () => {
    const { governors } = await client.serverInfo();
    return governors.every(({ tasks, objects }) => tasks.length === 0 && objects.length === 0);
  });
}

export { until };
export const WAIT = { timeout: 60_000 };
