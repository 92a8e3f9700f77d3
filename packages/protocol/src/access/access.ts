import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { z } from "zod";
import { RainError } from "../errors.ts";
import { keySchema, type Role } from "./roles.ts";

/** The key of each role, of those that are held. */
export type RoleKeys = { readonly [R in Role]?: string | undefined };

/** What proves a process to a cluster, and where its server is. The content of an access file. */
export interface Access {
  readonly v: 1;
  readonly clusterId: string;
  /** `http://host:port` of the server on this machine's loopback, `https://host:port` of any other. */
  readonly url: string;
  /** The server's certificate: with https, the only one that is taken for it. */
  readonly certPem?: string | undefined;
  /** A file may hold the keys of some roles only. */
  readonly keys: RoleKeys;
}

const serverUrl = z
  .string()
  .max(2_048)
  .refine(isServerUrl, "the address of a server: http://host:port, without a path");

function isServerUrl(text: string): boolean {
  if (!URL.canParse(text)) return false;
  const url = new URL(text);
  const bare = url.pathname === "/" && url.search === "" && url.hash === "" && url.username === "";
  return bare && url.password === "" && (url.protocol === "http:" || url.protocol === "https:");
}

export const accessSchema: z.ZodType<Access> = z
  .strictObject({
    v: z.literal(1),
    clusterId: z.string().regex(/^[\w-]{1,64}$/, "the id of a cluster"),
    url: serverUrl,
    certPem: z.string().max(32_768).optional(),
    keys: z.strictObject({
      client: keySchema("client").optional(),
      governor: keySchema("governor").optional(),
      viewer: keySchema("viewer").optional(),
    }),
  })
  .refine(
    ({ url, certPem }) => certPem !== undefined || !url.startsWith("https:"),
    "an https address needs certPem, the server's certificate",
  );

/** The folder of an instance: `$RAIN_HOME/<name>`, or `~/.rain/<name>`. Throws RainError("bad-request") for a bad name. */
export function instanceDir(name: string = "default"): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name))
    throw new RainError(
      "bad-request",
      `The instance name ${JSON.stringify(name.slice(0, 100))} is not valid: ` +
        "use up to 64 letters, digits, '.', '_' and '-', and start with a letter or digit.",
    );
  const home = process.env["RAIN_HOME"];
  return join(home === undefined || home === "" ? join(homedir(), ".rain") : resolve(home), name);
}

/** The file that holds the access of an instance, in its folder. */
export const accessFileName = "access.json";

/** The same access with the keys of these roles only: for a machine that needs no more. */
export function splitAccess(access: Access, wanted: readonly Role[]): Access {
  const keys: Partial<Record<Role, string>> = {};
  for (const role of wanted) {
    const key = access.keys[role];
    if (key === undefined)
      throw new RainError(
        "bad-request",
        `The access holds no ${role} key: take it from the server's own access file.`,
      );
    keys[role] = key;
  }
  return { ...access, keys };
}
