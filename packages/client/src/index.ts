export {
  Client,
  type ConnectOptions,
  type GovernorInfo,
  type ServerInfo,
  type SessionOptions,
} from "./client.ts";
export { blob, json, type ConstantOptions } from "./constants.ts";
export type { CustomOptions, PythonOptions } from "./custom.ts";
export { DataObject } from "./data-object.ts";
export { ConnectionError, SessionError, TaskError, TimeoutError } from "./errors.ts";
export type { Argument, ExecuteOptions } from "./execute.ts";
export { DataInstance } from "./instance.ts";
export type { LogChunk, LogOptions, LogStream } from "./logs.ts";
export { Program } from "./program.ts";
export { Session } from "./session.ts";
export {
  Input,
  input,
  Output,
  output,
  type InputOptions,
  type ObjectLike,
  type OutputOptions,
} from "./slots.ts";
export { Outputs, Task, type TaskInfoView } from "./task.ts";
export type { TaskOptions } from "./task-options.ts";
export type { WaitOptions } from "./wait-limit.ts";
export { RainError, type ErrorCode } from "@rain/protocol";
