export {
  Client,
  type ConnectOptions,
  type GovernorInfo,
  type ServerInfo,
  type SessionOptions,
} from "./client.ts";
export type { ArrayArgument, ArrayOptions } from "./array-pattern.ts";
export { Column, each, index, type IndexOptions } from "./column.ts";
export { blob, cbor, json, type ConstantOptions } from "./constants.ts";
export type { CustomOptions, PythonOptions } from "./custom.ts";
export { DataObject, type DataObjectSpec } from "./data-object.ts";
export type { DatastoreOptions } from "./datastores.ts";
export { directory, type DirectoryOptions } from "./directory.ts";
export { ConnectionError, SessionError, TaskError, TimeoutError } from "./errors.ts";
export type { Argument, ExecuteOptions } from "./execute.ts";
export { DataInstance } from "./instance.ts";
export type { LogChunk, LogOptions, LogStream } from "./logs.ts";
export { Program } from "./program.ts";
export type { Results, ResultsOptions } from "./results.ts";
export { Session, type SessionInfo } from "./session.ts";
export {
  Input,
  input,
  inputDir,
  Output,
  output,
  outputDir,
  type InputDirOptions,
  type InputOptions,
  type ObjectLike,
  type OutputOptions,
} from "./slots.ts";
export { Outputs, Task, type TaskInfoView, type TaskMetrics } from "./task.ts";
export { TaskArray } from "./task-array.ts";
export type { TaskOptions } from "./task-options.ts";
export type { WaitOptions } from "./wait-limit.ts";
export type { DirectoryItems, LoadOptions } from "./built-in.ts";
export {
  isSubtype,
  RainError,
  type DatastoreVersion,
  type ErrorCode,
  type Json,
  type MetricPoint,
  type MetricSummary,
  type ResultRow,
  type UserAttributes,
} from "@rain/protocol";
