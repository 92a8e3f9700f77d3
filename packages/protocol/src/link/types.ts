import type { Role } from "../access/index.ts";
import type { ClientRequest, GovernorMessage, ServerToClient, ServerToGovernor } from "../messages.ts";

/** Roles that talk over a link: a viewer asks as a client does, for less. */
export type LinkRole = Role;

/** What both sides of a link know once it is open. */
export interface Welcome {
  readonly clusterId: string;
  /** Random for each start of the server. */
  readonly instance: string;
  /** Version of the protocol that this link speaks. */
  readonly protocol: number;
  /** What the server says that it understands beyond the first version: see `Feature`. */
  readonly features: readonly string[];
  /** For `Authorization: Rain-Token T` of HTTP requests, valid while the link is open. A secret. */
  readonly token: string;
}

/** How a link ended. `code` is a WebSocket close code; 1006 when it was cut, by whichever side. */
export interface Closed {
  readonly code: number;
  readonly reason: string;
}

/** One conversation with a peer that has proved who it is: messages of type `In` arrive, of type `Out` leave. */
export interface Link<In, Out> {
  /** `address:port` of the peer. */
  readonly remote: string;
  readonly role: LinkRole;
  readonly welcome: Welcome;
  /** Bytes of messages that the peer has not taken yet. */
  readonly bufferedBytes: number;
  /**
   * Does nothing once the link is closed: `onClose` tells.
   * Throws RainError("limit-exceeded") for a message that is too large, RainError("bad-message") for no plain data.
   */
  send(message: Out): void;
  /** What was said leaves now, and not at the end of this turn of the event loop: nothing more comes in it. */
  flush(): void;
  /**
   * Asks the peer for a sign of life; `heard` is called when it has answered, and so has heard of this side after the
   * question. Not at all when the link is closed before.
   */
  probe(heard: () => void): void;
  /** Sets the one receiver of messages. Those that came before are kept for it, in order. */
  onMessage(handler: (message: In) => void): void;
  /** Sets the one receiver of the end; called once, also when the link ended before. */
  onClose(handler: (closed: Closed) => void): void;
  close(code?: number, reason?: string): void;
  /** Ends the link at once, without the peer, which may be out of reach. */
  terminate(reason?: string): void;
}

interface ServerSide {
  /** Number of the connection, never used again by this server process. */
  readonly id: number;
  /** The peer is on this machine, or its tunnel ends here. */
  readonly isLocal: boolean;
}
export type ClientPeer = Link<ClientRequest, ServerToClient> &
  ServerSide & { readonly role: "client" | "viewer" };
export type GovernorPeer = Link<GovernorMessage, ServerToGovernor> &
  ServerSide & { readonly role: "governor" };
/** A link as the server holds it. */
export type ServerLink = ClientPeer | GovernorPeer;

/** One line of the audit log; who writes it adds the time. Never a key, a token, a MAC, a header or an argument. */
export interface AuditEntry {
  /** "handshake", "token", "route", "ticket", "message" (one that closed its link), or the type of a message. */
  readonly verb: string;
  /** Numbers of what it was about: `3` a session, `3/17` a task, `3/o4` an object, `g2` a governor; or a path. */
  readonly target?: string | undefined;
  readonly result: "accepted" | "refused";
  readonly remote: string;
  readonly connection?: number | undefined;
  readonly role?: string | undefined;
  /** First 8 hex digits of the SHA-256 of the key, as the peer claims while it is refused. */
  readonly keyId?: string | undefined;
  readonly detail?: string | undefined;
  /** Refusals from this address before this one that got no line of their own. */
  readonly suppressed?: number | undefined;
}

export interface VersionRange {
  readonly min: number;
  readonly max: number;
}
