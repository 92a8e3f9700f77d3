import type { DatastoreVersion } from "@rain/protocol";

export interface NewVersion extends DatastoreVersion {
  /** Of the request that made it. */
  readonly key: string;
}

/** One datastore: a name, with the versions that are there. It stays when all are deleted, so that no number comes twice. */
export interface Datastore {
  readonly name: string;
  /** The largest number ever given. */
  last: number;
  versions: DatastoreVersion[];
}

/** Named objects that outlive sessions: a part of the durable state. */
export class Datastores {
  readonly byName: Map<string, Datastore> = new Map();
  /** Which version each request made, also when that is deleted since: a request that is repeated makes no other. */
  readonly byKey: Map<string, number> = new Map();

  get(name: string): readonly DatastoreVersion[] {
    return this.byName.get(name)?.versions ?? [];
  }
  /** Every version, by name and number. */
  all(): DatastoreVersion[] {
    const names = [...this.byName.keys()].toSorted();
    return names.flatMap((name) => this.get(name));
  }

  create({ key, ...version }: NewVersion): void {
    const datastore = this.#named(version.name);
    datastore.versions.push(version);
    datastore.last = Math.max(datastore.last, version.version);
    this.byKey.set(key, version.version);
  }
  /** Answers what is gone. */
  delete(name: string, versions: readonly number[]): DatastoreVersion[] {
    const datastore = this.#named(name);
    const gone = datastore.versions.filter(({ version }) => versions.includes(version));
    datastore.versions = datastore.versions.filter(({ version }) => !versions.includes(version));
    return gone;
  }
  #named(name: string): Datastore {
    const known = this.byName.get(name);
    if (known) return known;
    const datastore: Datastore = { name, last: 0, versions: [] };
    this.byName.set(name, datastore);
    return datastore;
  }
}
