export { joinNotes, type MetricsEnd } from "./collector.ts";
export { MetricsMonitor } from "./monitor.ts";
