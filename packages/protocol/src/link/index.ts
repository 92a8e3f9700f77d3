export { connectLink, type ConnectOptions } from "./connect.ts";
export { Gate, type GateOptions } from "./gate.ts";
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
