import { randomBytes } from "node:crypto";
import {
  blobPath,
  objectPath,
  type AssignedInput,
  type CopiedObject,
  type GovernorId,
  type GovernorMessageOf,
  type ObjectSource,
  type SessionId,
} from "@rain/protocol";
import type { GovernorPeer } from "@rain/protocol/link";
import { signTicket } from "@rain/protocol/tickets";
import type { ConnectionId, DraftCopy, DraftInput, ServerEffect } from "./core/index.ts";
import { dataPortProblem, type DataPort } from "./http/proxy.ts";

interface Port extends DataPort {
  readonly connection: ConnectionId;
  readonly relay: boolean;
  /** It is on this machine, or its tunnel ends here. */
  readonly isLocal: boolean;
}

/** The data ports of connected governors: where each is, what it shows, and who may read from it. */
export class DataPorts {
  readonly #ports: Map<GovernorId, Port> = new Map();
  /** What governors said when they asked to be registered. */
  readonly #hellos: Map<ConnectionId, Pick<Port, "fingerprint" | "isLocal">> = new Map();
  /** Inputs with several holders that were addressed. */
  #turn = 0;
  /** Key of the tickets for bytes that this server itself serves; new at each start. */
  readonly ownKey: Uint8Array = new Uint8Array(randomBytes(32));

  /** Why the port of a governor that asks to be registered cannot be used; undefined when it can. */
  introduce(
    { id, isLocal }: Pick<GovernorPeer, "id" | "isLocal">,
    hello: Pick<GovernorMessageOf<"register">, "dataUrl" | "fingerprint">,
  ): string | undefined {
    this.#hellos.set(id, { fingerprint: hello.fingerprint, isLocal });
    return dataPortProblem(hello.dataUrl, hello.fingerprint, isLocal);
  }

  /** The governor is registered: the key of the tickets for its port. */
  register(effect: Extract<ServerEffect, { type: "registered" }>): Uint8Array {
    const { connection, governor, epoch, dataUrl: url, relay } = effect;
    const ticketKey = new Uint8Array(randomBytes(32));
    const { fingerprint, isLocal } = this.#hellos.get(connection) ?? {
      fingerprint: undefined,
      isLocal: false,
    };
    this.#ports.set(governor, { url, fingerprint, ticketKey, epoch, connection, relay, isLocal });
    return ticketKey;
  }

  gone(connection: ConnectionId): void {
    this.#hellos.delete(connection);
    for (const [id, port] of this.#ports) if (port.connection === connection) this.#ports.delete(id);
  }

  get(governor: GovernorId): DataPort | undefined {
    return this.#ports.get(governor);
  }

  /** Turns the holders of an input into addresses with tickets, for the governor that is to read it. */
  address(input: DraftInput, session: SessionId, reader: GovernorId): AssignedInput {
    const { holders, onServer, ...rest } = input;
    if (rest.data) return { ...rest, sources: [] };
    const isThere = onServer || holders.length > 0;
    return { ...rest, sources: this.#sources(input, isThere ? session : undefined, reader) };
  }

  /** The same for an object that a governor is to copy. */
  addressCopy(copy: DraftCopy, reader: GovernorId): CopiedObject {
    const { holders: _, ...rest } = copy;
    return { ...rest, sources: this.#sources(copy, copy.session, reader) };
  }

  /** The server comes last: for its own bytes, and to pass on those of a governor that cannot be reached directly. */
  #sources(
    input: Pick<DraftInput, "object" | "holders" | "sha256">,
    session: SessionId | undefined,
    reader: GovernorId,
  ): ObjectSource[] {
    const sources = this.#direct(input, this.#ports.get(reader));
    if (session === undefined) return sources;
    const path = objectPath(session, input.object);
    const ticket = signTicket(this.ownKey, { method: "GET", path, epoch: 0 });
    return [...sources, { url: path, ticket }];
  }

  /** Another one first each time, so that many readers of one object do not all go to the same holder. */
  #inTurn(holders: readonly GovernorId[]): GovernorId[] {
    if (holders.length > 1) this.#turn += 1;
    const first = this.#turn % Math.max(1, holders.length);
    return [...holders.slice(first), ...holders.slice(0, first)];
  }

  #direct(
    { holders, sha256 }: Pick<DraftInput, "holders" | "sha256">,
    reader: Port | undefined,
  ): ObjectSource[] {
    const sources: ObjectSource[] = [];
    for (const holder of reader?.relay === true ? [] : this.#inTurn(holders)) {
      const port = this.#ports.get(holder);
      // A loopback address means another machine to a reader elsewhere.
      if (!port || (port.fingerprint === undefined && reader?.isLocal !== true)) continue;
      const { url, fingerprint, ticketKey, epoch } = port;
      const path = blobPath(sha256);
      const ticket = signTicket(ticketKey, { method: "GET", path, epoch });
      sources.push({ url: url + path, ticket, ...(fingerprint === undefined ? {} : { fingerprint }) });
    }
    return sources;
  }
}
