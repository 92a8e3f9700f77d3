import type { LinkRole, VersionRange } from "./types.ts";
import { roles } from "../roles.ts";
import { formatRange, parseRange } from "./transcript.ts";

/** What a peer says in the `Authorization` header of its upgrade. */
export interface Offer {
  readonly role: LinkRole;
  readonly id: string;
  readonly nonce: string;
  readonly cnonce: string;
  readonly proto: VersionRange;
  readonly mac: string;
}

const SCHEME = "Rain-HMAC ";
const MAX_LENGTH = 1_024;
/** 32 bytes in base64url. */
export const secret32: RegExp = /^[A-Za-z0-9_-]{43}$/;
const patterns: Readonly<Record<keyof Offer, RegExp>> = {
  role: /^(client|governor|viewer)$/,
  id: /^[0-9a-f]{8}$/,
  nonce: secret32,
  cnonce: secret32,
  proto: /^\d{1,5}-\d{1,5}$/,
  mac: secret32,
};

export const formatOffer = (offer: Offer): string =>
  `${SCHEME}role=${offer.role}, id=${offer.id}, nonce=${offer.nonce}, cnonce=${offer.cnonce}, ` +
  `proto=${formatRange(offer.proto)}, mac=${offer.mac}`;

/** The offer of a header; undefined when it is absent or not exactly of that form. */
export function parseOffer(header: string | undefined): Offer | undefined {
  if (header === undefined || header.length > MAX_LENGTH || !header.startsWith(SCHEME)) return undefined;
  const fields = new Map<string, string>();
  for (const part of header.slice(SCHEME.length).split(",")) {
    const [name, value, ...rest] = part.trim().split("=");
    if (name === undefined || value === undefined || rest.length > 0 || fields.has(name)) return undefined;
    fields.set(name, value);
  }
  if (fields.size !== Object.keys(patterns).length) return undefined;
  for (const [name, pattern] of Object.entries(patterns))
    if (!pattern.test(fields.get(name) ?? "")) return undefined;
  const proto = parseRange(fields.get("proto") ?? "");
  if (proto === undefined) return undefined;
  const field = (name: keyof Offer): string => fields.get(name) ?? "";
  return {
    role: roles.find((role) => role === field("role")) ?? "viewer",
    id: field("id"),
    nonce: field("nonce"),
    cnonce: field("cnonce"),
    proto,
    mac: field("mac"),
  };
}
