import { blobPath, type Digest } from "@rain/protocol";
import { recordOf, type DataObject } from "./data-object.ts";
import type { Http } from "./http.ts";
import type { Spool } from "./spool.ts";

/** Uploads of constants that do not fit into a message: the same content once for each client. */
export class Uploads {
  readonly #http: Http;
  readonly #done = new Map<Digest, Promise<void>>();

  constructor(http: Http) {
    this.#http = http;
  }

  /** Until the server has all of them. True when some were believed to be there from an earlier submit. */
  async ensure(objects: readonly DataObject[]): Promise<boolean> {
    if (objects.length === 0) return false;
    const before = new Set(this.#done.keys());
    await Promise.all(objects.map((object) => this.#ensureOne(object)));
    return objects.some((object) => before.has(contentOf(object).sha256));
  }

  /** The server may have dropped content that no session used any more: it is uploaded again. */
  forget(objects: readonly DataObject[]): void {
    for (const object of objects) this.#done.delete(contentOf(object).sha256);
  }

  async #ensureOne(object: DataObject): Promise<void> {
    const { sha256, content } = contentOf(object);
    let upload = this.#done.get(sha256);
    if (!upload) {
      upload = this.#upload(sha256, content);
      this.#done.set(sha256, upload);
    }
    try {
      await upload;
    } catch (error) {
      if (this.#done.get(sha256) === upload) this.#done.delete(sha256);
      throw error;
    }
  }

  async #upload(sha256: Digest, content: Uint8Array | Spool): Promise<void> {
    await this.#http.retry(async () => {
      const answer = await this.#http.open({ method: "PUT", path: blobPath(sha256), body: content });
      answer.resume();
    });
  }
}

function contentOf(object: DataObject): { sha256: Digest; content: Uint8Array | Spool } {
  const { content, info } = recordOf(object);
  if (!content || !info) throw new Error(`${object.label} is no constant`);
  return { sha256: info.sha256, content };
}
