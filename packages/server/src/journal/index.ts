export { openJournal, type JournalOptions, type OpenedJournal } from "./open.ts";
export { openJournalFolder, type FolderOptions } from "./open-folder.ts";
export type { Journal } from "./journal.ts";
export type { JournalNote } from "./failure.ts";
export type { DurableState } from "./state.ts";
export type { Done, JournalStorage, ReadDone } from "./storage.ts";
export { lockJournal } from "./lock.ts";
