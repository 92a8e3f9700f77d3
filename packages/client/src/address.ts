import { join } from "node:path";
import { DEFAULT_PORT, RainError } from "@rain/protocol";
import { accessFileName, instanceDir, loadAccess } from "@rain/protocol/access";
import { pinOf, type Pin } from "@rain/protocol/tls";
import { checkNumber, show, wrongType } from "./check.ts";

/** Where the server is, and what proves this client to it. The key is a secret. */
export interface Address {
  /** `http://host:port` on loopback, `https://host:port` elsewhere. */
  readonly url: string;
  readonly key: string;
  /** A viewer's key lets it look on only. */
  readonly role: "client" | "viewer";
  /** The certificate that the server must show, with https. */
  readonly pin: Pin | undefined;
  readonly clusterId: string | undefined;
  /** For one attempt to connect. */
  readonly timeoutMs: number | undefined;
}

/** The access file: as named, by `RAIN_ACCESS_FILE`, or of the default instance (in `RAIN_HOME` or ~/.rain). */
function accessPath(named: string | undefined): string {
  const fromEnvironment = process.env["RAIN_ACCESS_FILE"];
  if (named !== undefined) return named;
  return fromEnvironment ? fromEnvironment : join(instanceDir(), accessFileName);
}

/** The address of the access file, with another host or port where they are given. */
export async function readAddress(
  accessFile: string | undefined,
  host: string | undefined,
  port: number | undefined,
  timeoutMs: number | undefined,
): Promise<Address> {
  const path = accessPath(accessFile);
  const access = await loadAccess(path);
  const { client, viewer } = access.keys;
  const key = client ?? viewer;
  if (key === undefined) {
    throw new RainError(
      "not-allowed",
      `the access file ${path} has no client key; make one with: rain access split --client FILE`,
    );
  }
  const role = client === undefined ? "viewer" : "client";
  const pin = pinOf(access.certPem, path);
  const url = host === undefined && port === undefined ? access.url : urlOf(host, port, access.url);
  return { url: new URL(url).origin, key, role, pin, clusterId: access.clusterId, timeoutMs };
}

function urlOf(host: string | undefined, port: number | undefined, known: string): string {
  const base = new URL(known);
  if (port !== undefined) checkNumber("connect: port", port, 1, 65_535, true);
  // A host without a port has the usual one: the file's port may be that of another host.
  const number = port ?? (host === base.hostname ? Number(base.port) : DEFAULT_PORT);
  const name =
    host === undefined ? base.hostname : host.includes(":") && !host.startsWith("[") ? `[${host}]` : host;
  const text = `${base.protocol}//${name}:${number}`;
  if (!URL.canParse(text) || /[/?#@\s]/.test(name)) {
    throw wrongType(`connect: ${show(host)} is not the name or address of a host`);
  }
  return text;
}
