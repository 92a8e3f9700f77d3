import { request, type Agent } from "node:http";
import { z } from "zod";
import { RainError } from "../errors.ts";
import { challengePath } from "../http.ts";
import { secret32 } from "./offer.ts";

/** What a server says before a handshake. */
export interface Challenge {
  readonly nonce: string;
  readonly clusterId: string;
  readonly serverInstance: string;
  readonly protoMin: number;
  readonly protoMax: number;
  /** What it understands beyond the first version of the protocol. */
  readonly features?: readonly string[] | undefined;
}
const version = z.int().min(1).max(99_999);
const name = z.string().regex(/^[\w-]{1,64}$/);
// Not strict: a later server may say more.
const schema: z.ZodType<Challenge> = z.object({
  nonce: z.string().regex(secret32),
  clusterId: name,
  serverInstance: name,
  protoMin: version,
  protoMax: version,
  features: z.array(name).max(64).optional(),
});

const MAX_BYTES = 16_384;

/** Asks the server at `url` for a challenge. Throws RainError("connection"). */
export async function fetchChallenge(
  url: string,
  agent: Agent,
  signal: AbortSignal,
  hostHeader?: string,
): Promise<Challenge> {
  const { status, body } = await get(url, agent, signal, hostHeader).catch((error: unknown) => {
    throw connectionProblem(url, error);
  });
  if (status === 200) {
    const challenge = readChallenge(body);
    if (challenge !== undefined) return challenge;
  }
  if (status === 403)
    throw new RainError(
      "connection",
      `The server at ${url} does not serve this address (403): use one of the names that it was started with, ` +
        "such as localhost.",
      { url, status },
    );
  throw new RainError(
    "connection",
    `What answers at ${url} is not a Rain server (status ${status}). Check the address and the port.`,
    { url, status },
  );
}

function readChallenge(body: string): Challenge | undefined {
  try {
    return schema.safeParse(JSON.parse(body)).data;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function get(
  url: string,
  agent: Agent,
  signal: AbortSignal,
  hostHeader: string | undefined,
): Promise<{ readonly status: number; readonly body: string }> {
  const headers = hostHeader === undefined ? {} : { Host: hostHeader };
  return new Promise((resolve, reject) => {
    const req = request(new URL(challengePath, url), { signal, agent, headers }, (res) => {
      let body = "";
      res.setEncoding("utf8");
      res.on("error", reject);
      res.on("data", (part: string) => {
        body += part;
        if (body.length > MAX_BYTES) req.destroy(new Error(`an answer of more than ${MAX_BYTES} bytes`));
      });
      res.on("end", () => resolve({ status: res.statusCode ?? 0, body }));
    });
    req.on("error", reject);
    req.end();
  });
}

/** The error for people of a connection that could not be made. */
export function connectionProblem(url: string, error: unknown): RainError {
  if (error instanceof RainError) return error;
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return new RainError(
    "connection",
    describe(url, code, error),
    { url, ...(code === "" ? {} : { errno: code }) },
    { cause: error },
  );
}

function describe(url: string, code: string, error: unknown): string {
  const start = "Is the server running? Start it with: rain start --simple";
  if (code === "ECONNREFUSED") return `Nothing listens at ${url} (connection refused). ${start}`;
  if (code === "ENOTFOUND" || code === "EAI_AGAIN")
    return `The host of ${url} is not known (${code}). Check the address.`;
  if (code === "ABORT_ERR" || code === "23") return `The server at ${url} gave no answer in time. ${start}`;
  if (code === "ECONNRESET") return `The connection to ${url} was cut (ECONNRESET). ${start}`;
  return `The connection to ${url} failed: ${error instanceof Error ? error.message : String(error)}. ${start}`;
}
