import { writeFileSync } from "node:fs";
import { it } from "vitest";
import { open } from "./journal-support.ts";
import { everyRecord } from "./journal-records.ts";
it("golden", () => {
  // one record a frame, two frames in the first segment, then a compaction of it
  const a = open(undefined, { segmentBytes: 1e9 });
  for (const r of everyRecord.slice(0, 2)) {
    a.commit(r);
    a.queue.drain();
  }
  const b = open(a.storage.files(), { segmentBytes: 1, compactAfterBytes: 1 });
  b.commit(everyRecord[2]!);
  b.queue.drain();
  const c = open(b.storage.files());
  for (const r of everyRecord.slice(3)) {
    c.commit(r);
    c.queue.drain();
  }
  const files = c.storage.files();
  console.log([...files.keys()], b.notes);
  writeFileSync(
    new URL("./golden/journal-1-snapshot.bin", import.meta.url),
    files.get("snapshot-0000000000000002.snap")!,
  );
  writeFileSync(
    new URL("./golden/journal-1-segment.bin", import.meta.url),
    files.get("journal-0000000000000003.log")!,
  );
});
