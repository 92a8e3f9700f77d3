import type { Digest, ObjectId, SessionId, TaskId } from "./ids.ts";

/**
 * Paths of the HTTP surface. Bytes of objects travel here, never through the message codec.
 * A client proves itself with `Authorization: Rain-Token T` (the token of its WebSocket's welcome),
 * a governor at another's data port with `Authorization: Rain-Ticket T` (from its assignment).
 */
const root = "/rain/v1";

/** GET, open to all: a nonce and the versions that the server speaks. */
export const challengePath: string = `${root}/challenge`;
/** WebSocket upgrade. */
export const linkPath: string = `${root}/link`;
/** PUT by a client: upload a constant before the submit that names it. GET by a governor with a ticket. */
export const blobPath = (sha256: Digest): string => `${root}/blobs/${sha256}`;
/** GET by a client, with Range: the bytes of a kept object. */
export const objectPath = (session: SessionId, object: ObjectId): string =>
  `${root}/sessions/${session}/objects/${object}`;
/**
 * GET by a client (on the server) or by the server (on a governor's data port): stdout or stderr of the last attempt,
 * from byte `?offset=N`. `Rain-Complete: 1` in the answer says that nothing more will come.
 */
export const logPath = (session: SessionId, task: TaskId, stream: "stdout" | "stderr"): string =>
  `${root}/sessions/${session}/tasks/${task}/${stream}`;

/** Is this host of a URL or listener the machine itself, and nothing else? What goes there needs no encryption. */
export const isLoopbackHost = (host: string): boolean => /^(localhost|127\.0\.0\.1|\[?::1\]?)$/i.test(host);
