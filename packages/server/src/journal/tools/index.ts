/** Tools for a journal that no server uses: look, repair, export. Behind `rain journal`. */
export { clusterOf, inspect, type FileReport, type Inspection } from "./inspect.ts";
export { exportRecords, exportState, type ExportLine } from "./export.ts";
export { planRepair, type Loss, type RepairPlan } from "./plan.ts";
export { applyRepair, keepCopy } from "./repair.ts";
export type { Content, Flaw } from "./survey.ts";
export { NodeJournalStorage } from "../storage-node.ts";
