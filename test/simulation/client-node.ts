import {
  replySchemas,
  serverToClient,
  type ClientRequest,
  type ObjectId,
  type ReplyOf,
  type RequestOf,
  type RequestType,
  type SessionId,
  type TaskArray,
  type TaskId,
  type TaskSpec,
  type WireError,
} from "@rain/protocol";
import { parse } from "@rain/protocol/codec";
import { groupTasks } from "../../packages/client/src/group.ts";
import { ClientMemory } from "./client-memory.ts";
import { RunClient, type RunHost } from "./client-run.ts";
import { SERVER } from "./governor-node.ts";
import type { Network, Socket } from "./network.ts";
import type { ClientPlan, SubmitPlan } from "./plan.ts";
import { hear, say } from "./wire.ts";
import type { World } from "./world.ts";

/** What a client needs of the server beside messages: the HTTP surface. */
export interface Http {
  upload(from: string, sha256: string, size: number, done: (stored: boolean) => void): void;
  read(from: string, session: SessionId, object: ObjectId, done: (sha256: string | undefined) => void): void;
  /** Was this task opened again for a lost output? */
  wasReopened(session: SessionId, task: TaskId): boolean;
  /** How often the server lost its power. */
  losses(): number;
}

/** Single tasks and arrays, as a submit has them. */
function split(list: readonly (TaskSpec | TaskArray)[]): { tasks: TaskSpec[]; arrays?: TaskArray[] } {
  const arrays = list.filter((each) => "first" in each);
  const tasks = list.filter((each) => "id" in each);
  return { tasks, ...(arrays.length > 0 && { arrays }) };
}

type Body<T extends RequestType> = Omit<RequestOf<T>, "req">;
interface Call {
  readonly req: number;
  /** The request, or all parts of a submit. */
  readonly messages: readonly ClientRequest[];
  readonly onReply: (ok: unknown) => void;
  readonly onError: (error: WireError) => void;
}

/** A client as the library is: it keeps its requests until they are answered and repeats them after a reconnect. */
export class ClientNode {
  readonly name: string;
  readonly plan: ClientPlan;
  readonly #world: World;
  readonly #network: Network;
  readonly #http: Http;
  #socket: Socket | undefined;
  #reqs = 0;
  readonly #calls: Map<number, Call> = new Map();
  readonly #openKey: string;
  session: SessionId | undefined;
  readonly #memory: ClientMemory;
  #refused = 0;
  #closing = false;
  closed = false;
  gone = false;
  /** Everything that it wanted is answered. */
  done = false;
  readonly #unkept: Set<ObjectId> = new Set();
  #fetching = false;
  #nexting = false;
  readonly #run: RunClient | undefined;
  #submits = 0;

  constructor(world: World, network: Network, http: Http, plan: ClientPlan) {
    this.#world = world;
    this.#network = network;
    this.#http = http;
    this.plan = plan;
    this.name = plan.name;
    this.#openKey = world.random.token("open");
    this.#memory = new ClientMemory(world, plan.name, (task) => {
      return this.session !== undefined && http.wasReopened(this.session, task);
    });
    for (const submit of plan.submits) {
      for (const { objects } of submit.unkeeps) for (const object of objects) this.#unkept.add(object);
    }
    this.#submits = plan.submits.length;
    this.#run = plan.run && new RunClient(world, plan.run, this.#hostOfRun());
  }
  #hostOfRun(): RunHost {
    const session = (): SessionId | undefined => this.session;
    return {
      name: this.name,
      get session() {
        return session();
      },
      isOver: () => this.done || this.gone || this.#closing,
      call: (type, body, onReply) => this.#call(type, body, onReply),
      upload: (sha256, size, done) => this.#upload([{ sha256, size }], done),
      tasks: () => this.#memory.tasks,
      stateOf: ({ id }) => this.#memory.stateOf(id),
      wasReopened: ({ id }) => this.session !== undefined && this.#http.wasReopened(this.session, id),
      losses: () => this.#http.losses(),
    };
  }

  start(): void {
    const { loop } = this.#world;
    this.#network.setUp(this.name, true);
    this.#connect();
    const { onError, detached, name, vanishesAt, closesAt, run } = this.plan;
    const { unique, parallelism, maxFails } = run ?? {};
    const limits = run ? { unique, parallelism, maxFails, user: { client: name } } : {};
    const open = {
      type: "session.open",
      key: this.#openKey,
      name,
      onError,
      detached,
      ttlS: 200,
      ...limits,
    } as const;
    this.#call("session.open", open, ({ session }) => {
      this.#check(this.session === undefined || this.session === session, "session-changed", `${session}`);
      this.session = session;
      if (this.#run) this.#run.start(() => this.#submit(0));
      else this.#submit(0);
      if (closesAt !== undefined) loop.at(closesAt, () => this.close());
    });
    if (vanishesAt !== undefined) loop.at(vanishesAt, () => this.#vanish());
  }

  /** Closes the session whatever runs in it. */
  close(): void {
    const { session } = this;
    if (this.#closing || this.gone || session === undefined) return;
    this.#closing = true;
    this.done = true;
    this.#call("session.close", { type: "session.close", session }, () => {
      this.closed = true;
    });
  }
  #vanish(): void {
    this.#world.log(`${this.name} vanishes`);
    this.gone = true;
    this.done = true;
    this.closed = true;
    this.#network.end(this.name, this.#world.random.chance(0.5));
  }

  // ------------------------------------------------------------------------------------------------ connection

  #connect(): void {
    const { loop, random } = this.#world;
    this.#network.dial(this.name, SERVER, "client", (socket) => {
      if (this.gone) return socket?.close();
      if (!socket) {
        loop.after(random.between(50, 2_000), () => !this.gone && this.#connect());
        return;
      }
      this.#socket = socket;
      socket.ears = {
        onMessage: (bytes) => socket === this.#socket && this.#answer(bytes),
        onClose: () => {
          if (socket !== this.#socket) return;
          this.#socket = undefined;
          loop.after(random.between(10, 1_000), () => !this.gone && this.#connect());
        },
      };
      const { session } = this;
      if (session !== undefined && !this.#closing) {
        const req = ++this.#reqs;
        const attach: Call = {
          req,
          messages: [{ type: "session.attach", req, session }],
          onReply: () => undefined,
          onError: (error) => this.#unexpected("session.attach", error),
        };
        this.#calls.set(req, attach);
        say(socket, attach.messages[0] ?? {});
      }
      for (const call of this.#calls.values()) {
        if (call.messages[0]?.type !== "session.attach")
          for (const message of call.messages) say(socket, message);
      }
      // Those of an earlier connection were answered by its end.
      if (session !== undefined && random.chance(0.3)) this.#audit();
    });
  }

  #call<T extends RequestType>(
    type: T,
    body: Body<T>,
    onReply: (ok: ReplyOf<T>) => void,
    onError: (error: WireError) => void = (error) => this.#unexpected(type, error),
  ): void {
    const req = ++this.#reqs;
    const message = { ...body, req } as unknown as ClientRequest;
    const reply = (ok: unknown): void => onReply(parse(replySchemas[type], ok, `reply to ${type}`));
    this.#calls.set(req, { req, messages: [message], onReply: reply, onError });
    say(this.#socket, message);
  }
  #answer(bytes: Uint8Array): void {
    const message = hear(serverToClient, bytes, "message of the server");
    const call = this.#calls.get(message.req);
    if (!call || this.gone) return;
    this.#calls.delete(message.req);
    const what = call.messages[0]?.type ?? "";
    this.#world.log(`${this.name} gets ${message.type} to ${what} ${message.req}`);
    if (message.type === "reply") call.onReply(message.ok);
    else call.onError(message.error);
  }

  #check(holds: boolean, rule: string, text: string): void {
    this.#world.check(holds, rule, () => `${this.name}: ${text}`);
  }
  /** An error is only right after this client itself closed the session, or when the session has failed. */
  #unexpected(what: string, error: WireError): void {
    if (this.#closing && (error.code === "session-closed" || error.code === "unknown-session")) return;
    if (error.code === "session-failed" && this.plan.onError === "fail") {
      this.#failed();
      return;
    }
    this.#check(false, "client-error", `${what}: ${error.code}: ${error.message}`);
  }
  #failed(): void {
    this.done = true;
  }

  // ---------------------------------------------------------------------------------------------------- submits

  #submit(at: number): void {
    const plan = this.plan.submits[at];
    if (!plan) return this.#progress();
    const { loop, random } = this.#world;
    loop.after(plan.delay, () => {
      if (this.gone || this.#closing) return;
      const large = plan.constants.filter(
        ({ data, sha256 }) => data === undefined && this.#run?.has(sha256) !== true,
      );
      this.#upload(large, () => this.#sendSubmit(at, plan, random.chance(0.3) && plan.tasks.length > 1));
    });
  }
  #upload(large: readonly { readonly sha256: string; readonly size: number }[], done: () => void): void {
    const [first, ...rest] = large;
    if (!first) return done();
    this.#http.upload(this.name, first.sha256, first.size, (stored) => {
      if (this.gone || this.#closing) return;
      if (stored) this.#upload(rest, done);
      else this.#world.loop.after(300, () => this.#upload(large, done));
    });
  }

  #sendSubmit(at: number, plan: SubmitPlan, inParts: boolean): void {
    const { session } = this;
    if (session === undefined || this.#closing || this.gone) return;
    const { key, tasks: all, constants } = plan;
    const head = { type: "submit", session, key } as const;
    const tasks = this.plan.inArrays ? [...groupTasks(all)] : all;
    const messages: ClientRequest[] = [];
    if (inParts) {
      const half = Math.ceil(tasks.length / 2);
      messages.push({
        ...head,
        req: ++this.#reqs,
        part: 0,
        last: false,
        ...split(tasks.slice(0, half)),
        constants,
      });
      messages.push({
        ...head,
        req: ++this.#reqs,
        part: 1,
        last: true,
        ...split(tasks.slice(half)),
        constants: [],
      });
    } else messages.push({ ...head, req: ++this.#reqs, part: 0, last: true, ...split(tasks), constants });
    const onReply = (): void => {
      this.#memory.acknowledge(plan);
      this.#later(plan);
      this.#next();
      this.#submit(at + 1);
    };
    const onError = (error: WireError): void => {
      // What an earlier submit should have made never came.
      const isAgain = at >= this.plan.submits.length;
      const follows =
        error.code === "object-failed" ||
        (this.#refused > 0 && error.code === "unknown-object") ||
        (isAgain && (error.code === "object-removed" || error.code === "not-kept"));
      if (!follows) return this.#unexpected("submit", error);
      this.#refused++;
      this.#submit(at + 1);
    };
    const req = this.#reqs;
    this.#calls.set(req, { req, messages, onReply, onError });
    for (const message of messages) say(this.#socket, message);
  }

  #later(plan: SubmitPlan): void {
    const { session } = this;
    const { loop, random } = this.#world;
    if (session === undefined) return;
    for (const { after, objects } of plan.unkeeps) {
      loop.after(after, () => {
        if (!this.gone && !this.#closing)
          this.#call("unkeep", { type: "unkeep", session, objects }, () => undefined);
      });
    }
    for (const { after, tasks } of plan.cancels) {
      loop.after(after, () => {
        if (!this.gone && !this.#closing)
          this.#call("cancel", { type: "cancel", session, tasks }, () => undefined);
      });
    }
    for (const after of plan.looks) loop.after(after, () => this.#look(session, plan));
    for (const object of this.#keptOf(plan)) if (random.chance(0.2)) this.#fetch(object, () => undefined);
  }

  /** Somebody looks at tasks: nothing changes by that. */
  #look(session: SessionId, { tasks }: SubmitPlan): void {
    const { random } = this.#world;
    if (this.gone || this.#closing || tasks.length === 0) return;
    const ids = tasks.map(({ id }) => id).filter(() => random.chance(0.3));
    this.#call("task.get", { type: "task.get", session, tasks: ids }, (reply) => {
      const right = reply.tasks.map(({ task }) => task).join() === ids.join();
      this.#check(right, "client-error", `asked for tasks ${ids.join()}, got others`);
    });
    this.#call("results", { type: "results", session, since: 0, max: random.int(1, 100) }, () => undefined);
    const task = random.pick(tasks).id;
    this.#call("explain", { type: "explain", session, task }, () => undefined);
  }

  // ---------------------------------------------------------------------------------------------------- results

  #next(): void {
    const { session } = this;
    if (this.#nexting || session === undefined || this.#closing) return;
    this.#nexting = true;
    const from = this.#memory.log.length;
    this.#call("next", { type: "next", session, from }, (reply) => {
      this.#nexting = false;
      if (reply.failure) {
        this.#check(
          this.plan.onError === "fail",
          "client-error",
          "the session failed in spite of onError: continue",
        );
        return this.#failed();
      }
      this.#check(reply.from === from, "settled-changed", `asked from ${from}, got from ${reply.from}`);
      for (const item of reply.items) this.#memory.settles(item);
      this.#next();
      this.#progress();
    });
  }

  #progress(): void {
    if (this.#fetching || this.done) return;
    const { acknowledged, hasSettled } = this.#memory;
    if (acknowledged.length + this.#refused < this.#submits || !hasSettled) return;
    this.#fetching = true;
    if (!this.#run) return this.#fetchKept();
    this.#run.settled((again) => {
      if (!again) return this.#fetchKept();
      this.#fetching = false;
      this.#submits++;
      this.#world.loop.after(again.delay, () => this.#sendSubmit(this.plan.submits.length, again, false));
    });
  }
  #fetchKept(): void {
    const { acknowledged } = this.#memory;
    this.#fetchAll(acknowledged.flatMap((plan) => this.#keptOf(plan)));
  }
  #keptOf(plan: SubmitPlan): ObjectId[] {
    const outputs = plan.tasks.flatMap((task) =>
      task.outputs.filter(({ keep }) => keep).map(({ object }) => object),
    );
    const constants = plan.constants.filter(({ keep }) => keep).map(({ id }) => id);
    return [...outputs, ...constants].filter((object) => !this.#unkept.has(object));
  }
  #fetchAll(objects: readonly ObjectId[]): void {
    const [first, ...rest] = objects;
    if (first === undefined) {
      this.done = true;
      this.#world.log(`${this.name} has all that it wanted`);
      return;
    }
    this.#fetch(first, () => this.#fetchAll(rest));
  }

  #fetch(object: ObjectId, done: () => void): void {
    const { session } = this;
    if (session === undefined || this.gone || this.#closing) return;
    const again = (): void => {
      this.#world.loop.after(500, () => this.#fetch(object, done));
    };
    const onError = (error: WireError): void => {
      if (error.code === "object-failed" && this.#memory.mayFail(object)) return done();
      this.#unexpected(`fetch of o${object}`, error);
    };
    this.#call(
      "fetch",
      { type: "fetch", session, object },
      (reply) => {
        if (reply.data) {
          this.#memory.got(object, reply.info.sha256);
          return done();
        }
        this.#http.read(this.name, session, object, (sha256) => {
          if (sha256 === undefined) return again();
          this.#memory.got(object, sha256);
          done();
        });
      },
      onError,
    );
  }
  /** Asks again for things that were answered before. */
  #audit(): void {
    const { session } = this;
    const { random } = this.#world;
    if (session === undefined || this.#closing || this.done) return;
    const tasks = this.#memory.tasks.map(({ id }) => id);
    if (tasks.length > 0) {
      this.#call("task.get", { type: "task.get", session, tasks }, () => undefined);
      this.#call("explain", { type: "explain", session, task: random.pick(tasks) }, () => undefined);
    }
    const from = 0 as TaskId;
    this.#call("session.describe", { type: "session.describe", session, from, max: 1_000 }, () => undefined);
    this.#call("server.info", { type: "server.info" }, () => undefined);
    if (this.plan.cached) {
      this.#call("cache.list", { type: "cache.list", max: 10 }, () => undefined);
      if (random.chance(0.1)) this.#call("cache.clear", { type: "cache.clear" }, () => undefined);
    }
    const seen = this.#memory.log.length;
    if (seen === 0) return;
    this.#call("next", { type: "next", session, from: 0 }, ({ items, failure }) => {
      if (!failure) this.#memory.readAgain(items, seen);
    });
  }
}
