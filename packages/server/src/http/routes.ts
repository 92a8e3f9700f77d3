import type { IncomingMessage, ServerResponse } from "node:http";
import {
  asDigest,
  asObjectId,
  asSessionId,
  asTaskId,
  blobPath,
  deniedText,
  logPath,
  parseRange,
  RainError,
  rangeHeaders,
  type GovernorId,
  type ObjectRef,
  type Rule,
} from "@rain/protocol";
import type { AuditEntry, Caller } from "@rain/protocol/link";
import { verifyTicket } from "@rain/protocol/tickets";
import type { Agents } from "@rain/protocol/tls";
import type { ServerCore } from "../core/index.ts";
import type { BlobFolder } from "../objects/blobs.ts";
import { passThrough, type DataPort } from "./proxy.ts";
import { respondBytes, respondRefusal, respondText } from "./respond.ts";

/** What the routes need of the server. */
export interface RouteContext {
  readonly core: ServerCore;
  readonly blobs: BlobFolder;
  /** Who sends this: the owner of the link whose token it carries. */
  callerOf(request: IncomingMessage): Caller | undefined;
  /** The sender has proved by a ticket that it may be here. */
  admit(request: IncomingMessage): void;
  /** Writes down what was done. */
  audit(request: IncomingMessage, caller: Caller | undefined, target: string): void;
  /** Writes down what was refused; false when it shall get no answer. */
  refused(request: IncomingMessage, entry: Partial<AuditEntry>): boolean;
  readonly agents: Agents;
  /** Key of the tickets for this server's own bytes. */
  readonly ticketKey: Uint8Array;
  dataPort(governor: GovernorId): DataPort | undefined;
  /** A holder did not have an object. */
  onMissing(ref: ObjectRef, governor: GovernorId): void;
}

type Handler = (context: RouteContext, call: Call) => Promise<void>;
interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly path: string;
  readonly query: string;
  readonly parts: readonly string[];
  readonly caller: Caller | undefined;
}

interface Route {
  readonly method: string;
  readonly pattern: RegExp;
  /** A path that it serves, for the test that walks the table. */
  readonly example: string;
  readonly rule: Rule;
  /** Whoever has a ticket for the path may call it too. */
  readonly ticket: boolean;
  readonly handler: Handler;
}

/**
 * The HTTP surface beside the handshake, one row a route: anything else is denied, and so is a caller whose role the
 * row does not name, before the handler runs.
 */
export const routes: readonly Route[] = [
  {
    method: "PUT",
    pattern: /^\/rain\/v1\/blobs\/([0-9a-f]{64})$/,
    example: `/rain/v1/blobs/${"0".repeat(64)}`,
    rule: { roles: ["client"], audit: true },
    ticket: false,
    handler: putBlob,
  },
  {
    method: "GET",
    pattern: /^\/rain\/v1\/sessions\/(\d{1,9})\/objects\/(\d{1,9})$/,
    example: "/rain/v1/sessions/1/objects/1",
    rule: { roles: ["client"], audit: true },
    ticket: true,
    handler: getObject,
  },
  {
    method: "GET",
    pattern: /^\/rain\/v1\/sessions\/(\d{1,9})\/tasks\/(\d{1,9})\/(stdout|stderr)$/,
    example: "/rain/v1/sessions/1/tasks/1/stdout",
    // Read again and again by who follows it.
    rule: { roles: ["client"], audit: false },
    ticket: false,
    handler: getLog,
  },
];

/** Answers a request that passed the Host and Origin checks. */
export async function handleRequest(
  context: RouteContext,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const target = request.url ?? "/";
  const mark = target.indexOf("?");
  const path = mark < 0 ? target : target.slice(0, mark);
  const query = mark < 0 ? "" : target.slice(mark);
  const row = routes.find((each) => each.method === request.method && each.pattern.test(path));
  const caller = context.callerOf(request);
  const mayCall =
    row !== undefined &&
    ((caller !== undefined && row.rule.roles.includes(caller.role)) ||
      (row.ticket && hasTicket(context, request, path)));
  if (!mayCall) {
    // 401: a token that died with its link is followed by another one.
    const status = caller === undefined ? 401 : 403;
    if (context.refused(request, caller ?? {})) respondRefusal(response, status, deniedText);
    else request.socket.destroy();
    return;
  }
  if (caller === undefined) context.admit(request);
  if (row.rule.audit) context.audit(request, caller, `${row.method} ${path}`);
  const parts = row.pattern.exec(path)?.slice(1) ?? [];
  await row.handler(context, { request, response, path, query, parts, caller });
}

function hasTicket(context: RouteContext, request: IncomingMessage, path: string): boolean {
  const header = request.headers.authorization ?? "";
  if (!header.startsWith("Rain-Ticket ")) return false;
  return verifyTicket(context.ticketKey, header.slice("Rain-Ticket ".length), {
    method: "GET",
    path,
    epoch: 0,
  });
}

async function putBlob(context: RouteContext, { request, response, parts }: Call): Promise<void> {
  try {
    const isNew = await context.blobs.write(asDigest(parts[0] ?? ""), request);
    respondText(response, isNew ? 201 : 200, "stored");
  } catch (error) {
    if (error instanceof RainError) return respondText(response, 422, error.message);
    throw error;
  }
}

/** Objects above this size are worth a connection of their own. */
const LARGE_BYTES = 1_048_576;

async function getObject(context: RouteContext, call: Call): Promise<void> {
  const { request, response, parts, caller } = call;
  const ref = { session: asSessionId(Number(parts[0])), object: asObjectId(Number(parts[1])) };
  const location = context.core.locate(ref.session, ref.object);
  const { range: wanted } = request.headers;
  if (!location || (!location.keep && caller !== undefined)) {
    return respondText(
      response,
      404,
      `data object ${ref.session}/o${ref.object} is not kept, not finished or removed`,
    );
  }
  if (location.kind === "governors") {
    const path = blobPath(asDigest(location.sha256));
    const asked = { path, query: "", range: wanted, isLarge: location.size > LARGE_BYTES };
    for (const holder of location.holders) {
      const port = context.dataPort(holder);
      if (port && (await passThrough(context.agents, port, asked, response))) return;
      context.onMissing(ref, holder);
    }
    return respondText(
      response,
      503,
      `no governor that has data object ${ref.session}/o${ref.object} answers now`,
    );
  }
  const size = location.kind === "data" ? location.data.length : location.size;
  const range = parseRange(wanted, size);
  if (range === "unsatisfiable") return respondText(response, 416, `the object has ${size} bytes`);
  respondBytes(response, range.partial ? 206 : 200, rangeHeaders(range, size));
  if (location.kind === "data") response.end(location.data.subarray(range.start, range.end + 1));
  else if (size === 0) response.end();
  else await context.blobs.send(asDigest(location.sha256), range, response);
}

async function getLog(context: RouteContext, { response, query, parts }: Call): Promise<void> {
  const session = asSessionId(Number(parts[0]));
  const task = asTaskId(Number(parts[1]));
  const stream = parts[2] === "stderr" ? "stderr" : "stdout";
  const governor = context.core.locateLog(session, task);
  if (governor === undefined) {
    // Nothing was written yet, or nothing can be any more: the reader tells by the task's state.
    return respondText(
      response,
      404,
      `task ${session}/${task} has no ${stream}: it was not started, or not run (\`cache\`), or it is unknown`,
    );
  }
  const port = context.dataPort(governor);
  const path = logPath(session, task, stream);
  if (
    port &&
    (await passThrough(context.agents, port, { path, query, range: undefined, isLarge: false }, response))
  )
    return;
  respondText(
    response,
    404,
    `the ${stream} of task ${session}/${task} is not there: its governor is gone or has dropped it`,
  );
}
