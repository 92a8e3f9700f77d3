import { unwatchFile, watchFile } from "node:fs";
import { RainError } from "@rain/protocol";
import { loadAccess, roles, type Access } from "@rain/protocol/access";

/** How often the file is looked at, milliseconds. */
const EVERY_MS = 500;

/** Notices that the keys of the access file were changed while the server runs. */
export class KeyWatch {
  readonly #path: string;
  readonly #log: (level: "info" | "error", text: string) => void;
  readonly #onChange: (access: Access) => void;
  #access: Access;

  constructor(
    path: string,
    access: Access,
    log: (level: "info" | "error", text: string) => void,
    onChange: (access: Access) => void,
  ) {
    this.#path = path;
    this.#access = access;
    this.#log = log;
    this.#onChange = onChange;
  }

  start(): void {
    // By polling: it sees a file that is replaced, on every file system.
    watchFile(this.#path, { interval: EVERY_MS, persistent: false }, this.#look);
  }

  stop(): void {
    unwatchFile(this.#path, this.#look);
  }

  readonly #look = (): void => {
    this.#read().catch((error: unknown) => {
      if (!(error instanceof RainError)) throw error;
      this.#log("error", `the keys stay as they were: ${error.message}`);
    });
  };

  async #read(): Promise<void> {
    const access = await loadAccess(this.#path);
    if (access.clusterId !== this.#access.clusterId) {
      this.#log("error", `the keys stay as they were: ${this.#path} is that of another cluster`);
      return;
    }
    const changed = roles.filter((role) => access.keys[role] !== this.#access.keys[role]);
    this.#access = access;
    if (changed.length === 0) return;
    this.#log("info", `new keys for: ${changed.join(", ")}; connections with the old ones are closed`);
    this.#onChange(access);
  }
}
