export { fingerprintOf, openCertificate, type Certificate } from "./certificate.ts";
export { createHttpServer, type HttpServerTimes } from "./http-server.ts";
export { isWildcard, machineNames, publicHost, urlHost } from "./names.ts";
export { Agents, pinOf, type Pin } from "./pinned.ts";
