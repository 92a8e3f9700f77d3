export { startServer, type LogLevel, type RunningServer, type ServerOptions } from "./server.ts";
