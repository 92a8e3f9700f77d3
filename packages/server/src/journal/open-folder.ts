import { JournalDamage } from "./failure.ts";
import { openJournal, type JournalOptions, type OpenedJournal } from "./open.ts";
import type { DurableState } from "./state.ts";
import { NodeJournalStorage } from "./storage-node.ts";

export interface FolderOptions<State extends DurableState> extends Omit<JournalOptions<State>, "storage"> {
  /** Made when it is not there. Lock it first: `lockFolder`. */
  readonly folder: string;
}

/** `openJournal` on a folder of the disk. Throws RainError "bad-file", that names the command for a repair. */
export function openJournalFolder<State extends DurableState>(
  options: FolderOptions<State>,
): Promise<OpenedJournal<State>> {
  return new Promise((resolve, reject) => {
    const storage = new NodeJournalStorage(options.folder);
    const fail = (error: unknown): void => {
      storage.close();
      reject(error instanceof JournalDamage ? error.inFolder(options.folder) : error);
    };
    try {
      openJournal({ ...options, storage }, (error, opened) => {
        if (opened !== undefined) return resolve(opened);
        fail(error ?? new Error("The journal was not opened."));
      });
    } catch (error) {
      fail(error);
    }
  });
}
