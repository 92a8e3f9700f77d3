import { createHash, randomBytes } from "node:crypto";
import { z } from "zod";
import { roles, type Role } from "../roles.ts";

export { roles, type Role };

/** Prefixes that a scanner for leaked secrets can recognise. */
const prefixes: Readonly<Record<Role, string>> = { client: "rainc_", governor: "raing_", viewer: "rainv_" };

/** A new key: 32 random bytes. */
export const createKey = (role: Role): string => prefixes[role] + randomBytes(32).toString("base64url");

export const keySchema = (role: Role): z.ZodType<string> =>
  z.string().regex(new RegExp(`^${prefixes[role]}[A-Za-z0-9_-]{43}$`), `a key of the role ${role}`);

/** A name for a key in logs and messages: the first 8 hex digits of its SHA-256. */
export const keyId = (key: string): string => createHash("sha256").update(key).digest("hex").slice(0, 8);
