export { connectLink, type ConnectOptions } from "./connect.ts";
export { FailureLimit } from "./failures.ts";
export { Gate, type Caller, type GateOptions } from "./gate.ts";
export { Lobby } from "./lobby.ts";
export { Notices } from "./notices.ts";
export type {
  AuditEntry,
  ClientPeer,
  Closed,
  GovernorPeer,
  Link,
  LinkRole,
  ServerLink,
  VersionRange,
  Welcome,
} from "./types.ts";
