/** Every limit of the protocol, in one place. Sizes are bytes, times milliseconds, unless the name says otherwise. */
export const PROTOCOL_MIN = 1;
export const PROTOCOL_MAX = 1;
export const DEFAULT_PORT = 7210;
/** What a server of this version understands beside the first one, told in its challenge. */
export const features: readonly Feature[] = ["arrays", "columns"];
/** "arrays": a submit may have task arrays. "columns": `next` may ask for columns, and `cancel` name ranges. */
export type Feature = "arrays" | "columns";

export const limits = {
  /** One control message. */
  messageBytes: 4_194_304,
  /** Structural pre-scan of a message's bytes. */
  messageDepth: 32,
  messageItems: 500_000,
  messageStringBytes: 1_048_576,
  /** An output up to this size rides in the finish report and is journaled by the server. */
  inlineBytes: 65_536,
  /** Inline bytes that one assignment or one reply may carry together; the rest travels over HTTP. */
  inlineBytesPerMessage: 1_048_576,
  /** Tasks (and constants) in one message of a submit; larger submits are chunked. */
  submitChunk: 2_000,
  submitTasks: 10_000_000,
  /** Places in which the tasks of an array differ. */
  arrayColumns: 64,
  /** Settled tasks in one reply to `next`. */
  nextItems: 1_000,
  /** The same, in columns. */
  nextColumns: 20_000,
  /** Attempts in one message about many. */
  batchItems: 1_000,
  inputsPerTask: 10_000,
  outputsPerTask: 1_000,
  /** Addresses that a report of a missing input names. */
  triedSources: 100,
  /** Arguments and environment of a task together, and the longest single one (the system's MAX_ARG_STRLEN). */
  argsBytes: 1_048_576,
  argBytes: 131_071,
  nameBytes: 1_024,
  /** Attributes of one task or object, as JSON; and the note that a program may leave. */
  userBytes: 16_384,
  /** Attributes of a session, as JSON: what `rain run` was asked. */
  sessionUserBytes: 262_144,
  debugBytes: 16_384,
  metricNameBytes: 256,
  /** Metrics of one attempt; further names are left out. */
  metricNames: 64,
  /** Points of all curves of one attempt; long curves are thinned out before they get there. */
  metricPoints: 20_000,
  /** Results in one reply. */
  resultRows: 1_000,
  /** Results of finished tasks that are kept for `cache`, and bytes that the server has of them; the oldest go first. */
  cacheEntries: 100_000,
  cacheBytes: 268_435_456,
  /** Closed sessions that the history remembers. */
  historyItems: 10_000,
  pathBytes: 4_096,
  pathComponentBytes: 255,
  pathDepth: 64,
  /** Last part of a failed program's stderr that its error carries. */
  stderrTailBytes: 8_192,
  /** Captured stdout or stderr of one attempt; a program that writes more is stopped. */
  captureBytes: 1_073_741_824,
  /** Processes that one task may have at once; less where the system allows fewer. */
  taskProcesses: 10_000,
  /** Objects of one `holding` message of a governor. */
  holdingChunk: 5_000,
  headerBytes: 16_384,
  headersTimeoutMs: 5_000,
  requestTimeoutMs: 15_000,
  headerCount: 64,
  /** How often connections are checked against the two times above. */
  connectionCheckMs: 1_000,
  tlsHandshakeMs: 5_000,
  /** An HTTP connection on which nothing moves. */
  idleMs: 60_000,
  /** Connections of a server, further bounded by its open files; and those whose peer has not proved who it is. */
  connections: 12_000,
  unauthenticated: 256,
  unauthenticatedMs: 5_000,
  /** Challenge nonces: lifetime and number outstanding. */
  nonceMs: 15_000,
  nonces: 4_096,
  failedHandshakesPerSecond: 10,
  /** WebSocket receive and send. */
  fragments: 64,
  pauseAtBufferedBytes: 8_388_608,
  dropAtBufferedBytes: 67_108_864,
  crashLimit: 3,
} as const;

/** Times that a server hands to its governors, and their defaults. */
export const timing = {
  heartbeatMs: 2_000,
  leaseMs: 15_000,
  sessionLeaseMs: 300_000,
  killGraceMs: 2_000,
  /** Work that a governor is given ahead of room for it. */
  aheadMs: 100,
} as const;
