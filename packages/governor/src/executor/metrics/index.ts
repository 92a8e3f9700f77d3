export { joinNotes, type MetricsEnd } from "./collector.ts";
export { MetricsMonitor, type MetricsWatch } from "./monitor.ts";
