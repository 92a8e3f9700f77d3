import { RainError } from "@rain/protocol";
import { badRequest, show } from "./check.ts";

export const isText = (type: string): boolean => type === "text" || type.startsWith("text-");

/** The encoding of a text type; UTF-8 unless it names one. */
export const encodingOf = (type: string): string =>
  type.startsWith("text-") ? type.slice("text-".length) : "utf-8";

/** The decoder of an encoding that bytes must be valid in. Throws "bad-request" for one that is not known. */
export function createDecoder(encoding: string): InstanceType<typeof TextDecoder> {
  try {
    return new TextDecoder(encoding, { fatal: true });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new RainError("bad-request", `the encoding ${encoding} is not known; take bytes()`);
  }
}

/**
 * A text in the encoding of its type, so that its reader gets the same text back. Throws when the encoding is not
 * known here (only UTF-8, UTF-16 and those of one byte a character are), or has no such characters.
 */
export function encodeText(what: string, text: string, type: string): Buffer {
  const encoding = isText(type) ? encodingOf(type) : "utf-8";
  const bytes = encode(text, createDecoder(encoding));
  if (bytes && createDecoder(encoding).decode(bytes) === text) return bytes;
  throw badRequest(
    `${what}: the text cannot be written in ${show(encoding)}; encode it yourself and pass the bytes`,
  );
}

function encode(text: string, decoder: InstanceType<typeof TextDecoder>): Buffer | undefined {
  if (decoder.encoding === "utf-8") return Buffer.from(text);
  if (decoder.encoding === "utf-16le") return Buffer.from(text, "utf16le");
  const table = new Map<string, number>();
  const lenient = new TextDecoder(decoder.encoding);
  for (let byte = 0; byte < 256; byte += 1) table.set(lenient.decode(Uint8Array.of(byte)), byte);
  const bytes: number[] = [];
  for (const char of text) {
    const byte = table.get(char);
    if (byte === undefined) return undefined;
    bytes.push(byte);
  }
  return Buffer.from(bytes);
}
