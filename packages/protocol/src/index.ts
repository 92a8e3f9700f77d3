export * from "./ids.ts";
export * from "./limits.ts";
export * from "./errors.ts";
export * from "./specs.ts";
export * from "./messages.ts";
export * from "./http.ts";
export * from "./range.ts";
export * from "./roles.ts";
