export * from "./ids.ts";
export * from "./limits.ts";
export * from "./errors.ts";
export {
  taskArray,
  taskOfArray,
  valueAt,
  type ArrayColumn,
  type Place,
  type PlaceValue,
  type Range,
  type TaskArray,
} from "./arrays.ts";
export * from "./specs.ts";
export {
  taskStates,
  settledStates,
  objectStates,
  sessionStates,
  plainName,
  sessionLimits,
  sessionUser,
  taskCounts,
  type TaskState,
  type SettledState,
  type ObjectState,
  type SessionState,
  type OnError,
  type AttemptRef,
  type ObjectRef,
  type TaskView,
  type ObjectView,
  type TaskCounts,
  type SessionFailure,
  type SessionView,
  type ResultRow,
  type HistoryItem,
  type DatastoreVersion,
  type CacheEntry,
  type GovernorView,
  memoryLimits,
  type MemoryLimit,
  type SettledItem,
} from "./views.ts";
export * from "./messages.ts";
export * from "./data-parts.ts";
export { at, isAsLong, ordinalColumn, toColumn, type Numbers } from "./numbers.ts";
export {
  isSmall,
  finishBatch,
  isWhole,
  FinishList,
  packAssignments,
  packRefs,
  refBatch,
  unpackAssignments,
  unpackFinishes,
  unpackRefs,
  type AssignBatch,
  type Assignment,
  type Finish,
  type FinishBatch,
  type RefBatch,
} from "./batches.ts";
export { countSettled, eachSettled, failureBytes, SettledPage, type SettledColumns } from "./settled.ts";
export * from "./http.ts";
export * from "./range.ts";
export * from "./roles.ts";
