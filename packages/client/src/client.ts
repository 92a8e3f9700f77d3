import {
  asSessionId,
  asTaskId,
  limits,
  type DatastoreVersion,
  type GovernorView,
  type OnError,
  type ReplyOf,
  type Requests,
  type RequestType,
  type Resources,
  type SessionView,
  type UserAttributes,
} from "@rain/protocol";
import { nanoid } from "nanoid";
import { readAddress } from "./address.ts";
import {
  badRequest,
  checkFlag,
  checkName,
  checkNumber,
  checkOptions,
  checkUser,
  show,
  wrongType,
} from "./check.ts";
import { Connection } from "./connection.ts";
import type { DataObject } from "./data-object.ts";
import {
  checkDatastoreName,
  checkVersion,
  createDatastore,
  datastoreObject,
  findVersion,
  listDatastores,
  type DatastoreOptions,
} from "./datastores.ts";
import { Http } from "./http.ts";
import { readLogs, type LogChunk, type LogOptions } from "./logs.ts";
import { Session, type SessionContext } from "./session.ts";
import { Uploads } from "./uploads.ts";

export interface ConnectOptions {
  /** Default: the file that `RAIN_ACCESS_FILE` names, or that of the default instance. */
  readonly accessFile?: string | undefined;
  /** How long to try to restore a lost connection before everything fails with a `ConnectionError`; default 120. */
  readonly reconnectS?: number | undefined;
  /** For one attempt to connect; default 10. */
  readonly timeoutS?: number | undefined;
}
const connectNames = new Set(["accessFile", "reconnectS", "timeoutS"]);

export interface SessionOptions {
  /** "fail" (default): the first failed task fails the session. "continue": only what depends on it is aborted. */
  readonly onError?: OnError | undefined;
  /** It goes on without a client. Default: it is closed when it has had none for some minutes. */
  readonly detached?: boolean | undefined;
  /** Life of a detached session after its last task settled and its last client left. */
  readonly ttlS?: number | undefined;
  /** Its name is its own: `find(name)` finds it, and another unique session of that name is refused ("name-taken"). */
  readonly unique?: boolean | undefined;
  /** Tasks that may run at once; the others wait, whatever is free. */
  readonly parallelism?: number | undefined;
  /** As soon as so many tasks have failed, the others are cancelled. Only with `onError: "continue"`. */
  readonly maxFails?: number | undefined;
  /** Attributes of your own, at most 256 KiB as JSON: `session.info()` has them. */
  readonly user?: UserAttributes | undefined;
}
const sessionNames = new Set(["onError", "detached", "ttlS", "unique", "parallelism", "maxFails", "user"]);

export interface GovernorInfo {
  readonly id: number;
  readonly name: string;
  readonly state: GovernorView["state"];
  /** Its capacity; what running tasks hold of it is `used`. */
  readonly resources: Resources;
  readonly used: Resources;
  readonly labels: Readonly<Record<string, string>>;
  /** Environments of its configuration, for `execute(..., { environment })`. */
  readonly environments?: readonly string[] | undefined;
  /** Its own executors, for `custom("NAME/METHOD")`. */
  readonly executors?: readonly string[] | undefined;
  readonly costPerHour?: number | undefined;
  /** It gets no new tasks. */
  readonly draining?: boolean | undefined;
  /** Tasks that it was given. */
  readonly tasks: GovernorView["tasks"];
  /** Data objects that it has. */
  readonly objects: GovernorView["objects"];
}

export interface ServerInfo {
  readonly version: string;
  readonly clusterId: string;
  /** Random for each start of the server. */
  readonly instance: string;
  readonly uptimeS: number;
  readonly governors: readonly GovernorInfo[];
  readonly sessions: readonly SessionView[];
}

/** A program's connection to a server. It is restored by itself when it is lost. */
export class Client {
  readonly #connection: Connection;
  readonly #context: SessionContext;

  private constructor(connection: Connection) {
    const http = new Http(connection);
    this.#connection = connection;
    this.#context = { connection, http, uploads: new Uploads(http) };
  }

  /** Connects to the server of the access file, or to this host (port 7210 unless named) with the file's key. */
  static async connect(host?: string, port?: number, options?: ConnectOptions): Promise<Client>;
  static async connect(host: string, options: ConnectOptions): Promise<Client>;
  static async connect(options: ConnectOptions): Promise<Client>;
  static async connect(...given: (string | number | ConnectOptions | undefined)[]): Promise<Client> {
    const { host, port, options } = readConnect(given);
    const { accessFile, reconnectS = 120, timeoutS = 10 } = options;
    checkNumber("connect: reconnectS", reconnectS, 0, 1e9);
    checkNumber("connect: timeoutS", timeoutS, 0.001, 1e6);
    const reread = (): ReturnType<typeof readAddress> => readAddress(accessFile, host, port, timeoutS * 1000);
    return new Client(await Connection.open(await reread(), { reconnectS, reread }));
  }

  /** `http://host:port` of the server, `https://host:port` when it is not on loopback. */
  get url(): string {
    return this.#connection.address.url;
  }

  /** Makes a session. It outlives this client unless it is closed, or not `detached` and left alone for minutes. */
  async newSession(name: string = "", options: SessionOptions = {}): Promise<Session> {
    checkName("newSession: name", name);
    const opened = readSessionOptions(name, options);
    const { onError, detached } = opened;
    const { session } = await this.#connection.request("session.open", {
      key: nanoid(),
      name,
      ...opened,
      created: Date.now(),
    });
    return new Session(this.#context, { id: session, name, onError, detached });
  }

  /** Becomes a client of a session that is on the server, with all its tasks and objects. */
  async attach(sessionId: number): Promise<Session> {
    const id = asSessionId(checkNumber("attach: session", sessionId, 1, 2 ** 31 - 1, true));
    const view = await this.#connection.request("session.attach", { session: id });
    return await Session.attach(this.#context, view);
  }

  /** Becomes a client of the unique session of this name; throws "unknown-session" when there is none. */
  async find(name: string): Promise<Session> {
    checkName("find: name", name);
    const { view } = await this.#connection.request("session.get", { name });
    return await this.attach(view.session);
  }

  /** Every version of every datastore of the server. */
  async datastores(): Promise<readonly DatastoreVersion[]> {
    return await listDatastores(this.#connection);
  }

  /**
   * Uploads a file or folder of this machine as a datastore, which outlives sessions. When there is one of that name,
   * this is its next version.
   */
  async createDatastore(
    name: string,
    path: string,
    options: DatastoreOptions = {},
  ): Promise<DatastoreVersion> {
    return await createDatastore(this.#context, name, path, options);
  }

  /** A constant of a datastore, the newest version unless one is named. Nothing is uploaded. For one session. */
  async datastore(name: string, version?: number): Promise<DataObject> {
    checkDatastoreName("datastore", name);
    checkVersion("datastore", version);
    return datastoreObject(findVersion(await this.datastores(), name, version));
  }

  /** Forgets one version, or all of them; their number. Sessions that use it keep its bytes. */
  async deleteDatastore(name: string, version?: number): Promise<number> {
    checkDatastoreName("deleteDatastore", name);
    const only = checkVersion("deleteDatastore", version);
    const fields = { name, ...(only !== undefined && { version: only }) };
    return (await this.#connection.request("datastore.delete", fields)).removed;
  }

  /** All sessions that the server has. */
  async sessions(): Promise<readonly SessionView[]> {
    return (await this.#connection.request("session.list", {})).sessions;
  }

  async serverInfo(): Promise<ServerInfo> {
    const info = await this.#connection.request("server.info", {});
    return { ...info, governors: info.governors.map(governorInfo) };
  }

  /** Stops the server; with `governors`, first its governors and what they run. */
  async stopServer(options: { readonly governors?: boolean | undefined } = {}): Promise<void> {
    await this.#connection.request("server.stop", { governors: options.governors ?? false });
  }

  /** What the last attempt of a task wrote, for tools: by its numbers, without becoming a client of its session. */
  logs(
    ref: { readonly session: number; readonly task: number },
    options: LogOptions = {},
  ): AsyncGenerator<LogChunk, void, undefined> {
    return readLogs(this.#context, asSessionId(ref.session), asTaskId(ref.task), options);
  }

  /** Any request of the protocol, for tools. It is asked again by itself when the connection is lost. */
  async request<T extends RequestType>(type: T, fields: Requests[T]): Promise<ReplyOf<T>> {
    return await this.#connection.request(type, fields);
  }

  /** Ends the connection. Sessions are not closed: those that are not detached end after some minutes. */
  async close(): Promise<void> {
    this.#context.http.close();
    await this.#connection.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

type OpenFields = Pick<
  Requests["session.open"],
  "onError" | "detached" | "ttlS" | "unique" | "parallelism" | "maxFails" | "user"
>;

function readSessionOptions(name: string, options: SessionOptions): OpenFields {
  const what = "newSession";
  checkOptions(what, options, sessionNames);
  const { onError = "fail", detached = false, ttlS, unique, parallelism, maxFails, user } = options;
  if (onError !== "fail" && onError !== "continue") {
    throw badRequest(`${what}: onError: must be "fail" or "continue", not ${show(onError)}`);
  }
  if (unique !== undefined && checkFlag(`${what}: unique`, unique) && name === "")
    throw badRequest(`${what}: unique: the session needs a name by which it is found`);
  if (parallelism !== undefined) checkNumber(`${what}: parallelism`, parallelism, 1, 1_000_000, true);
  if (maxFails !== undefined) checkNumber(`${what}: maxFails`, maxFails, 1, 10_000_000, true);
  if (maxFails !== undefined && onError === "fail")
    throw badRequest(
      `${what}: maxFails: with onError "fail" the first failure ends the session; write onError: "continue"`,
    );
  return {
    onError,
    detached: checkFlag(`${what}: detached`, detached),
    ...(ttlS !== undefined && { ttlS: checkNumber(`${what}: ttlS`, ttlS, Number.MIN_VALUE, 1e9) }),
    ...(unique === true && { unique }),
    ...(parallelism !== undefined && { parallelism }),
    ...(maxFails !== undefined && { maxFails }),
    ...(user !== undefined && { user: checkUser(`${what}: user`, user, limits.sessionUserBytes) }),
  };
}

function governorInfo({ governor, capacity, ...rest }: GovernorView): GovernorInfo {
  return { id: governor, resources: capacity, ...rest };
}

interface ConnectArguments {
  readonly host: string | undefined;
  readonly port: number | undefined;
  readonly options: ConnectOptions;
}

function readConnect(given: readonly unknown[]): ConnectArguments {
  const rest = [...given];
  while (rest.length > 0 && rest.at(-1) === undefined) rest.pop();
  const last = rest.at(-1);
  let options: ConnectOptions = {};
  if (typeof last === "object" && last !== null) {
    checkOptions("connect", last, connectNames);
    options = last;
    rest.pop();
  }
  const [host, port] = rest;
  if (host !== undefined && (typeof host !== "string" || host === "")) {
    throw wrongType(`connect: the host must be a name or an address, not ${show(host)}`);
  }
  if (port !== undefined && typeof port !== "number") {
    throw wrongType(`connect: the port must be a number, not ${show(port)}`);
  }
  return { host, port, options };
}
