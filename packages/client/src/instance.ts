import { createWriteStream } from "node:fs";
import { rename, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { RainError, type Digest, type ObjectInfo } from "@rain/protocol";
import { nanoid } from "nanoid";
import { encodingOf, isText } from "./content-types.ts";
import { Spool } from "./spool.ts";

/**
 * The bytes of a fetched object, here and checked against their digest: it can be read after the object is let go and
 * the session closed. Above 16 MiB they are in a file without a name; `bytes`, `text`, `json` and `load` bring all of
 * it into memory, `stream` and `write` do not.
 */
export class DataInstance {
  /** Bytes. */
  readonly size: number;
  readonly sha256: Digest;
  readonly contentType: string;
  readonly #content: Uint8Array | Spool;

  /** Made by `fetch`; not by users. */
  constructor(info: ObjectInfo, content: Uint8Array | Spool) {
    this.size = info.size;
    this.sha256 = info.sha256;
    this.contentType = info.contentType;
    this.#content = content;
  }

  bytes(): Uint8Array {
    return this.#content instanceof Spool ? this.#content.readAll() : this.#content;
  }

  /** In the encoding of the content type (text-ENC), else UTF-8. Throws for bytes that are not valid in it. */
  text(): string {
    const encoding = encodingOf(this.contentType);
    const decoder = createDecoder(encoding);
    try {
      return decoder.decode(this.bytes());
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      throw new RainError(
        "bad-request",
        `the data is not text in ${encoding}; take bytes()`,
        {},
        { cause: error },
      );
    }
  }

  /** The value of JSON text. */
  json(): unknown {
    return JSON.parse(this.text());
  }

  /** By content type: text as a string, json as its value, everything else as bytes. */
  load(): unknown {
    if (isText(this.contentType)) return this.text();
    return this.contentType === "json" ? this.json() : this.bytes();
  }

  /** Its bytes in order; each call starts from the first. */
  stream(): Readable {
    const content = this.#content;
    if (content instanceof Spool) return Readable.from(content.chunks(), { objectMode: false });
    return Readable.from(content.length === 0 ? [] : [content], { objectMode: false });
  }

  /** Writes a file, which appears under its name when it is whole. */
  async write(path: string): Promise<void> {
    const temporary = join(dirname(path), `.${basename(path)}.${nanoid(8)}.tmp`);
    try {
      await pipeline(this.stream(), createWriteStream(temporary, { flags: "wx" }));
      await rename(temporary, path);
    } catch (error) {
      await unlink(temporary).catch((problem: NodeJS.ErrnoException) => {
        if (problem.code !== "ENOENT") throw problem;
      });
      throw error;
    }
  }

  /** Lets go of the bytes now, instead of when it is collected. */
  async close(): Promise<void> {
    if (this.#content instanceof Spool) await this.#content.close();
  }
}

function createDecoder(encoding: string): InstanceType<typeof TextDecoder> {
  try {
    return new TextDecoder(encoding, { fatal: true });
  } catch (error) {
    throw new RainError(
      "bad-request",
      `the encoding ${encoding} is not known here; take bytes()`,
      {},
      { cause: error },
    );
  }
}
