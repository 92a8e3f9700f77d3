import { openJournal, type JournalOptions, type OpenedJournal } from "./open.ts";
import type { DurableState } from "./state.ts";
import { NodeJournalStorage } from "./storage-node.ts";

export interface FolderOptions<State extends DurableState> extends Omit<JournalOptions<State>, "storage"> {
  /** Made when it is not there. Lock it first: `lockFolder`. */
  readonly folder: string;
}

/** `openJournal` on a folder of the disk. Throws RainError "bad-file". */
export function openJournalFolder<State extends DurableState>(
  options: FolderOptions<State>,
): Promise<OpenedJournal<State>> {
  return new Promise((resolve, reject) => {
    const storage = new NodeJournalStorage(options.folder);
    openJournal({ ...options, storage }, (error, opened) => {
      if (opened !== undefined) return resolve(opened);
      storage.close();
      reject(error ?? new Error("The journal was not opened."));
    });
  });
}
