import type { ErrorCode } from "@rain/protocol";

/** Every exit code of `rain` that it chooses itself. A signal that ends it is 128 + its number, as in every shell. */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  partial: 3,
  data: 65,
  unavailable: 69,
  internal: 70,
  io: 74,
  protocol: 76,
  permission: 77,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** What each means: the one table behind `rain --help` and docs/cli.md. */
export const exitCodeMeanings: readonly (readonly [ExitCode, string])[] = [
  [exitCodes.ok, "done"],
  [exitCodes.failed, "what was asked for failed"],
  [exitCodes.usage, "wrong command line"],
  [exitCodes.partial, "some trials failed"],
  [exitCodes.data, "damaged file or data"],
  [exitCodes.unavailable, "server not reachable, or address in use"],
  [exitCodes.internal, "bug in Rain"],
  [exitCodes.io, "disk error or disk full"],
  [exitCodes.protocol, "versions do not fit"],
  [exitCodes.permission, "not allowed"],
];

const byErrorCode: Partial<Record<ErrorCode, ExitCode>> = {
  connection: exitCodes.unavailable,
  "server-stopping": exitCodes.unavailable,
  unauthorized: exitCodes.permission,
  "not-allowed": exitCodes.permission,
  "version-mismatch": exitCodes.protocol,
  "bad-message": exitCodes.protocol,
  "bad-digest": exitCodes.data,
  "bad-file": exitCodes.data,
  internal: exitCodes.internal,
};
/** Exit code for an error of the catalogue: 1 unless the table above has a better word for it. */
export const exitCodeOf = (code: ErrorCode): ExitCode => byErrorCode[code] ?? exitCodes.failed;

const byErrno: Readonly<Record<string, ExitCode>> = {
  EADDRINUSE: exitCodes.unavailable,
  EADDRNOTAVAIL: exitCodes.unavailable,
  ECONNREFUSED: exitCodes.unavailable,
  EACCES: exitCodes.permission,
  EPERM: exitCodes.permission,
  EDQUOT: exitCodes.io,
  EIO: exitCodes.io,
  EMFILE: exitCodes.io,
  ENOSPC: exitCodes.io,
  EROFS: exitCodes.io,
};
/** Exit code for an error of the system, by its `errno` name; undefined for one without a better word than 1. */
export const exitCodeOfErrno = (errno: string): ExitCode | undefined => byErrno[errno];
