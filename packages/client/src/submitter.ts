import { RainError, type SessionId } from "@rain/protocol";
import type { Connection } from "./connection.ts";
import { ConnectionError } from "./errors.ts";
import type { Batch } from "./graph.ts";
import { packFolders } from "./directory.ts";
import { recordOf, type DataObject } from "./data-object.ts";
import { Spool } from "./spool.ts";
import { largeConstants, sendBatch } from "./submit.ts";
import type { Uploads } from "./uploads.ts";

/** Sends the batches of one session one after another: a later one may use objects of an earlier. */
export class Submitter {
  readonly #connection: Connection;
  readonly #uploads: Uploads;
  readonly #session: SessionId;
  #last: Promise<void> = Promise.resolve();

  constructor(connection: Connection, uploads: Uploads, session: SessionId) {
    this.#connection = connection;
    this.#uploads = uploads;
    this.#session = session;
  }

  async send(batch: Batch): Promise<void> {
    const sent = this.#last.then(() => this.#sendNow(batch));
    this.#last = sent.catch(() => undefined); // told to the caller of this submit; the next one may still go well
    await sent;
  }

  /** Until no submit is under way. */
  async idle(): Promise<void> {
    await this.#last;
  }

  async #sendNow(batch: Batch): Promise<void> {
    await packFolders(batch.constants);
    const large = largeConstants(batch);
    const isReused = await this.#uploads.ensure(large);
    try {
      await sendBatch(this.#connection, this.#session, batch);
    } catch (error) {
      const isRefused = error instanceof RainError && !(error instanceof ConnectionError);
      if (!isReused || !isRefused) throw error;
      // Content of an earlier submit may be gone from the server with the session that used it: once more, with all.
      this.#uploads.forget(large);
      await this.#uploads.ensure(large);
      await sendBatch(this.#connection, this.#session, batch);
    }
    await letGo(batch.constants);
  }
}

/** The server has what was packed for it. */
async function letGo(objects: readonly DataObject[]): Promise<void> {
  for (const object of objects) {
    const { content } = recordOf(object);
    if (content instanceof Spool) await content.close();
  }
}
