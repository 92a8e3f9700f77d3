import { createHash } from "node:crypto";
import { asDigest, limits, type UserAttributes } from "@rain/protocol";
import { encode } from "cbor2";
import { checkContentType, checkName, checkOptions, checkUser, show, wrongType } from "./check.ts";
import { encodeText } from "./content-types.ts";
import { DataObject, newRecord } from "./data-object.ts";

export interface ConstantOptions {
  readonly label?: string | undefined;
  readonly contentType?: string | undefined;
  /** Attributes of your own: JSON values by name. They are in the object's `spec`. */
  readonly user?: UserAttributes | undefined;
}
const optionNames = new Set(["label", "contentType", "user"]);
const valueNames = new Set(["label", "user"]);

/**
 * A constant of these bytes, usable wherever a data object is, in one session. The content type is "text" for a string
 * and '' for bytes, unless named. Text travels as UTF-8, or in the encoding of its type (text-ENC). Bytes beyond 64 KiB are not copied: leave them unchanged until
 * the submit is done.
 */
export function blob(content: string | Uint8Array | ArrayBuffer, options: ConstantOptions = {}): DataObject {
  checkOptions("blob", options, optionNames);
  if (typeof content === "string") {
    if (/\p{Surrogate}/u.test(content))
      throw wrongType("blob: the text is not valid as UTF-8 (a lone surrogate)");
    const type =
      options.contentType === undefined ? "text" : checkContentType("blob: contentType", options.contentType);
    return constant("blob", encodeText("blob", content, type), "text", options);
  }
  const bytes = content instanceof ArrayBuffer ? new Uint8Array(content) : content;
  if (!(bytes instanceof Uint8Array)) {
    throw wrongType(
      `blob: the content must be a string or bytes (Uint8Array, ArrayBuffer), not ${show(content)}`,
    );
  }
  return constant("blob", bytes.length <= limits.inlineBytes ? Buffer.from(bytes) : bytes, "", options);
}

/** A constant of a value in JSON, content type "json". */
export function json(value: unknown, options: Omit<ConstantOptions, "contentType"> = {}): DataObject {
  checkOptions("json", options, valueNames);
  const text: string | undefined = JSON.stringify(value);
  if (text === undefined) throw wrongType(`json: ${show(value)} has no form in JSON`);
  return constant("json", Buffer.from(text), "json", options);
}

/** A constant of a value in CBOR, content type "cbor": also for bytes, dates, maps and large numbers. */
export function cbor(value: unknown, options: Omit<ConstantOptions, "contentType"> = {}): DataObject {
  checkOptions("cbor", options, valueNames);
  return constant("cbor", encodeCbor(value), "cbor", options);
}

function encodeCbor(value: unknown): Uint8Array {
  try {
    return encode(value);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw wrongType(`cbor: ${show(value)} has no form in CBOR: ${why}`);
  }
}

function constant(
  what: string,
  content: Uint8Array,
  defaultType: string,
  options: ConstantOptions,
): DataObject {
  const label = options.label === undefined ? "" : checkName(`${what}: label`, options.label);
  const contentType =
    options.contentType === undefined
      ? defaultType
      : checkContentType(`${what}: contentType`, options.contentType);
  const sha256 = asDigest(createHash("sha256").update(content).digest("hex"));
  const user = options.user === undefined ? undefined : checkUser(`${what}: user`, options.user);
  const info = { size: content.length, sha256, contentType };
  return new DataObject(newRecord({ label, contentType, content, info, user }));
}
