import { randomBytes } from "node:crypto";
import { createServer, get, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import {
  asGovernorId,
  isReport,
  type AttemptRef,
  type GovernorMessage,
  type GovernorMessageOf,
  type Report,
  type ServerToGovernor,
} from "@rain/protocol";
import { createKey } from "@rain/protocol/access";
import { Gate, type GovernorPeer } from "@rain/protocol/link";
import { signTicket } from "@rain/protocol/tickets";

/** A server that does what the test says: a real gate on a real port, no scheduler. */
export class TinyServer {
  readonly keys = { client: createKey("client"), governor: createKey("governor") };
  readonly heard: GovernorMessage[] = [];
  /** Acknowledge reports at once. */
  acknowledges = true;
  /** Answer to a registration. */
  answer: "accept" | "refuse" | "nothing" = "accept";
  peer: GovernorPeer | undefined;
  epoch = 0;
  ticketKey: Uint8Array = new Uint8Array();
  dataUrl = "";
  url = "";
  #http: Server | undefined;
  #gate: Gate | undefined;
  #port = 0;
  readonly #waiting: (() => void)[] = [];

  async start(): Promise<this> {
    const gate = new Gate({
      clusterId: "tiny",
      instance: `instance-${this.epoch}`,
      keys: this.keys,
      onLink: (link) => {
        if (link.role === "governor") this.#accept(link);
      },
      audit: () => undefined,
    });
    const http = createServer((request, response) => {
      if (!gate.handle(request, response)) response.writeHead(404).end();
    });
    http.on("upgrade", (request, socket, head) => gate.upgrade(request, socket, head));
    await new Promise<void>((resolve) => http.listen(this.#port, "127.0.0.1", resolve));
    this.#port = (http.address() as AddressInfo).port;
    this.url = `http://127.0.0.1:${this.#port}`;
    this.#gate = gate;
    this.#http = http;
    return this;
  }

  /** May be started again, on the same port. */
  async stop(): Promise<void> {
    await this.#gate?.close();
    this.#http?.closeAllConnections();
    await new Promise((resolve) => (this.#http ? this.#http.close(resolve) : resolve(undefined)));
    this.#http = undefined;
  }

  #accept(peer: GovernorPeer): void {
    this.peer = peer;
    peer.onMessage((message) => {
      this.heard.push(message);
      if (message.type === "register") this.#register(peer, message);
      if (isReport(message) && this.acknowledges) {
        const { session, task, attempt } = message;
        peer.send({ type: "ack", attempts: [{ session, task, attempt }] });
      }
      for (const wake of this.#waiting.splice(0)) wake();
    });
  }

  #register(peer: GovernorPeer, hello: GovernorMessageOf<"register">): void {
    if (this.answer === "nothing") return;
    if (this.answer === "refuse") {
      peer.send({ type: "refused", error: { code: "identity-in-use", message: "there is another one" } });
      peer.close();
      return;
    }
    this.epoch += 1;
    this.ticketKey = new Uint8Array(randomBytes(32));
    this.dataUrl = hello.dataUrl;
    const { epoch, ticketKey } = this;
    peer.send({
      type: "registered",
      governor: asGovernorId(5),
      epoch,
      heartbeatMs: 50,
      leaseMs: 5_000,
      ticketKey,
    });
  }

  send(message: ServerToGovernor): void {
    if (!this.peer) throw new Error("no governor is connected");
    this.peer.send(message);
  }

  /** The first message that fits, waiting for it if need be. It is taken out. */
  async next<T extends GovernorMessage>(fits: (message: GovernorMessage) => message is T): Promise<T> {
    for (;;) {
      const index = this.heard.findIndex(fits);
      const found = this.heard[index];
      if (found && fits(found)) {
        this.heard.splice(index, 1);
        return found;
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  nextOf<T extends GovernorMessage["type"]>(type: T): Promise<GovernorMessageOf<T>> {
    return this.next((message): message is GovernorMessageOf<T> => message.type === type);
  }

  report(ref: AttemptRef): Promise<Report> {
    return this.next(
      (message): message is Report =>
        isReport(message) && message.task === ref.task && message.attempt === ref.attempt,
    );
  }

  ticket(path: string): string {
    return signTicket(this.ticketKey, { method: "GET", path, epoch: this.epoch });
  }

  /** Reads from the governor's data port. */
  read(path: string, query = ""): Promise<{ status: number; body: string; complete: boolean }> {
    const headers = { Authorization: `Rain-Ticket ${this.ticket(path)}` };
    return new Promise((resolve, reject) => {
      get(this.dataUrl + path + query, { headers, agent: false }, (answer) => {
        let body = "";
        answer.setEncoding("utf8");
        answer.on("data", (part: string) => (body += part));
        answer.on("error", reject);
        answer.on("end", () =>
          resolve({
            status: answer.statusCode ?? 0,
            body,
            complete: answer.headers["rain-complete"] === "1",
          }),
        );
      }).on("error", reject);
    });
  }
}
