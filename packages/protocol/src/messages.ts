/**
 * Everything that is said over a WebSocket, by direction. One message is one msgpack map with a `type`.
 *
 * - client -> server: `ClientRequest`, each with a number `req` chosen by the client; all of them may be sent again
 *   after a reconnect without being done twice.
 * - server -> client: `ServerToClient`: one reply or error for each request. No other message is ever pushed.
 * - governor -> server: `GovernorMessage`; server -> governor: `ServerToGovernor`.
 */

export * from "./client-messages.ts";
export * from "./governor-messages.ts";
