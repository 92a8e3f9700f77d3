export { Acquirer, type AcquireEffect, type AcquirerOptions } from "./acquirer.ts";
export { DataPort, type DataPortOptions } from "./data-port.ts";
