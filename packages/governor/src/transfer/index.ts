export { Acquirer, type AcquireEffect } from "./acquirer.ts";
export { DataPort } from "./data-port.ts";
