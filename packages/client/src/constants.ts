import { createHash } from "node:crypto";
import { asDigest, limits } from "@rain/protocol";
import { checkContentType, checkName, checkOptions, show, wrongType } from "./check.ts";
import { DataObject, newRecord } from "./data-object.ts";

export interface ConstantOptions {
  readonly label?: string | undefined;
  readonly contentType?: string | undefined;
}
const optionNames = new Set(["label", "contentType"]);

/**
 * A constant of these bytes, usable wherever a data object is, in one session. Text travels as UTF-8. The content type
 * is "text" for a string and '' for bytes, unless named. Bytes beyond 64 KiB are not copied: leave them unchanged until
 * the submit is done.
 */
export function blob(content: string | Uint8Array | ArrayBuffer, options: ConstantOptions = {}): DataObject {
  checkOptions("blob", options, optionNames);
  if (typeof content === "string") {
    if (/\p{Surrogate}/u.test(content))
      throw wrongType("blob: the text is not valid as UTF-8 (a lone surrogate)");
    return constant("blob", Buffer.from(content), "text", options);
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
  checkOptions("json", options, new Set(["label"]));
  const text: string | undefined = JSON.stringify(value);
  if (text === undefined) throw wrongType(`json: ${show(value)} has no form in JSON`);
  return constant("json", Buffer.from(text), "json", options);
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
  return new DataObject(
    newRecord({ label, contentType, content, info: { size: content.length, sha256, contentType } }),
  );
}
