export { openJournal, type JournalOptions } from "./open.ts";
export { openJournalFolder } from "./open-folder.ts";
export type { Journal } from "./journal.ts";
export type { JournalNote } from "./failure.ts";
export type { DurableState } from "./state.ts";
