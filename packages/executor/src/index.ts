export { serve, type Method, type Methods, type Result } from "./serve.ts";
export type { Call, CallInput, CallOutput } from "./call.ts";
