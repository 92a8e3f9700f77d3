import { createWriteStream } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { RainError, type Digest, type ObjectInfo, type ObjectKind } from "@rain/protocol";
import { extractTree } from "@rain/protocol/tree";
import { nanoid } from "nanoid";
import { badRequest } from "./check.ts";
import { createDecoder, encodingOf, isText } from "./content-types.ts";
import { decodeArrow, decodeCbor } from "./decode.ts";
import { Spool } from "./spool.ts";

/**
 * The bytes of a fetched object, here and checked against their digest: it can be read after the object is let go and
 * the session closed. Above 16 MiB they are in a file without a name; `bytes`, `text`, `json` and `load` bring all of
 * it into memory, `stream` and `write` do not. The bytes of a directory are its tar.
 */
export class DataInstance {
  /** Bytes. */
  readonly size: number;
  readonly sha256: Digest;
  readonly contentType: string;
  readonly kind: ObjectKind;
  readonly #content: Uint8Array | Spool;

  /** Made by `fetch`; not by users. */
  constructor(info: ObjectInfo, content: Uint8Array | Spool, kind: ObjectKind = "blob") {
    this.size = info.size;
    this.sha256 = info.sha256;
    this.contentType = info.contentType;
    this.kind = kind;
    this.#content = content;
  }

  bytes(): Uint8Array {
    return this.#content instanceof Spool ? this.#content.readAll() : this.#content;
  }

  /** In the encoding of the content type (text-ENC), else UTF-8. Throws for bytes that are not valid in it. */
  text(): string {
    if (this.kind === "directory")
      throw badRequest("a directory is no text; write(path) makes it a folder, bytes() is its tar");
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

  /**
   * By content type: text as a string, json and cbor as their value, arrow as a table of the package apache-arrow (to
   * be installed beside this one); everything else, and a directory, as bytes.
   */
  load(): unknown {
    if (this.kind === "directory") return this.bytes();
    if (isText(this.contentType)) return this.text();
    switch (this.contentType) {
      case "json":
        return this.json();
      case "cbor":
        return decodeCbor(this.bytes());
      case "arrow":
        return decodeArrow(this.bytes());
      default:
        return this.bytes();
    }
  }

  /** Its bytes in order; each call starts from the first. */
  stream(): Readable {
    const content = this.#content;
    if (content instanceof Spool) return Readable.from(content.chunks(), { objectMode: false });
    return Readable.from(content.length === 0 ? [] : [content], { objectMode: false });
  }

  /**
   * Writes a file, or for a directory a folder, which appears under its name when it is whole. A file of that name is
   * replaced; a folder must not be there yet, or be empty.
   */
  async write(path: string): Promise<void> {
    const temporary = join(dirname(path), `.${basename(path)}.${nanoid(8)}.tmp`);
    try {
      if (this.kind === "directory") await extractTree(this.stream(), temporary, this);
      else await pipeline(this.stream(), createWriteStream(temporary, { flags: "wx" }));
      await rename(temporary, path);
    } catch (error) {
      await rm(temporary, { force: true, recursive: true });
      throw this.kind === "directory" ? folderProblem(error, path) : error;
    }
  }

  /** Lets go of the bytes now, instead of when it is collected. */
  async close(): Promise<void> {
    if (this.#content instanceof Spool) await this.#content.close();
  }
}

function folderProblem(error: unknown, path: string): unknown {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== "ENOTEMPTY" && code !== "EEXIST" && code !== "ENOTDIR") return error;
  return badRequest(`write: ${JSON.stringify(path)} exists already; a directory is written to a new folder`);
}
