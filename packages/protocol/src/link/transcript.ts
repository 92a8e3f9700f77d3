import { createHmac, timingSafeEqual } from "node:crypto";
import type { LinkRole, VersionRange } from "./types.ts";

/**
 * The proof of the handshake: HMAC-SHA256, keyed with the role's key as text, over lines that hold every field.
 * Its first lines are a label and a direction, so that what one side sends is never a proof for the other.
 */
export interface Handshake {
  readonly nonce: string;
  readonly clusterId: string;
  readonly instance: string;
  readonly server: VersionRange;
  readonly role: LinkRole;
  /** Id of the key. */
  readonly id: string;
  readonly cnonce: string;
  readonly client: VersionRange;
}
export type Direction = "client" | "server" | "token";

const LABEL = "rain-link-1";

/** Base64url. `protocol` is the version that the server picked: absent (0) in the client's proof, which comes first. */
export function proof(key: string, direction: Direction, handshake: Handshake, protocol: number = 0): string {
  const { nonce, clusterId, instance, server, role, id, cnonce, client } = handshake;
  const versions = [formatRange(server), formatRange(client), String(protocol)];
  // No field can hold a line end: each is checked against its own pattern where it is read.
  const lines = [LABEL, direction, nonce, clusterId, instance, role, id, cnonce, ...versions];
  return createHmac("sha256", key).update(lines.join("\n")).digest("base64url");
}

/** Is `given` the expected proof? Takes the same time wherever they differ. */
export function sameProof(given: string, expected: string): boolean {
  const a = Buffer.from(given, "base64url");
  const b = Buffer.from(expected, "base64url");
  return a.length === b.length && timingSafeEqual(a, b);
}

export const formatRange = (range: VersionRange): string => `${range.min}-${range.max}`;

/** Reads `1-3`; undefined for anything else. */
export function parseRange(text: string): VersionRange | undefined {
  const match = /^(\d{1,5})-(\d{1,5})$/.exec(text);
  if (match === null) return undefined;
  const range = { min: Number(match[1]), max: Number(match[2]) };
  return range.min >= 1 && range.min <= range.max ? range : undefined;
}

/** The highest version that both speak. */
export function commonVersion(a: VersionRange, b: VersionRange): number | undefined {
  const version = Math.min(a.max, b.max);
  return version >= Math.max(a.min, b.min) ? version : undefined;
}

/** What to tell people when there is no common version: both ranges, and which side to upgrade. */
export function versionProblem(role: LinkRole, client: VersionRange, server: VersionRange): string {
  const older = client.max < server.min ? role : "server";
  return (
    `The ${role} speaks versions ${formatRange(client)} of the protocol and the server ${formatRange(server)}: ` +
    `upgrade the ${older}.`
  );
}
