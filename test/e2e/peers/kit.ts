import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Client } from "@rain/client";
import { startGovernor, type Governor, type GovernorOptions } from "@rain/governor";
import { loadAccess, type Access } from "@rain/protocol/access";
import { startServer, type RunningServer, type ServerOptions } from "@rain/server";

/** A server and governors in this process, in a folder of their own. */
export class Peers {
  readonly home: string;
  readonly lines: string[] = [];
  readonly #ends: (() => Promise<unknown>)[] = [];

  private constructor(home: string) {
    this.home = home;
  }
  static async make(): Promise<Peers> {
    return new Peers(await mkdtemp(join(tmpdir(), "rain-peers-")));
  }

  get accessFile(): string {
    return join(this.home, "access.json");
  }
  access(): Promise<Access> {
    return loadAccess(this.accessFile);
  }

  async server(options: Partial<ServerOptions> = {}): Promise<RunningServer> {
    const server = await startServer({
      instanceDir: this.home,
      listen: { host: "127.0.0.1", port: 0 },
      version: "test",
      log: (level, text) => this.lines.push(`${level} ${text}`),
      ...options,
    });
    this.#ends.push(() => server.stop());
    return server;
  }

  async governor(name: string, options: Partial<GovernorOptions> = {}): Promise<Governor> {
    const access = await this.access();
    const governor = await startGovernor({
      serverUrl: access.url,
      certPem: access.certPem,
      accessFile: this.accessFile,
      key: async () => (await this.access()).keys.governor ?? "",
      clusterId: access.clusterId,
      workdir: join(this.home, "work", name),
      name,
      capacity: { cpus: 1, gpus: 0, memory: 2 ** 30, named: { [name]: 1 } },
      log: (level, text) => this.lines.push(`${level} ${name}: ${text}`),
      ...options,
    });
    this.#ends.push(() => governor.stop());
    return governor;
  }

  async client(accessFile: string = this.accessFile): Promise<Client> {
    const client = await Client.connect({ accessFile, reconnectS: 30 });
    this.#ends.push(() => client.close());
    return client;
  }

  atEnd(end: () => Promise<unknown>): void {
    this.#ends.push(end);
  }

  async stop(): Promise<void> {
    for (const end of this.#ends.toReversed()) await end();
    await rm(this.home, { recursive: true, force: true });
  }
}
