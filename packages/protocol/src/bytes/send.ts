import type { FileHandle } from "node:fs/promises";
import type { ServerResponse } from "node:http";

/**
 * Sends bytes `start` to `end` (included) of a file as the body of an answer whose head was written, and ends it. Two
 * pieces of memory serve for all of it: new ones for each read cost more than the sending. A reader that is slow is
 * waited for. Rejects when it goes away, with the code "ERR_STREAM_PREMATURE_CLOSE", and with the system's error.
 */
export async function sendFile(
  file: FileHandle,
  { start, end }: { readonly start: number; readonly end: number },
  response: ServerResponse,
  pieceBytes: number,
): Promise<void> {
  const size = Math.min(pieceBytes, end + 1 - start);
  let onClose = (): void => undefined;
  const gone = new Promise<never>((_, reject) => {
    onClose = () => reject(wentAway());
  });
  gone.catch(() => undefined); // only who waits for the reader is told
  if (response.destroyed) onClose();
  response.once("close", onClose);
  try {
    const pieces = [Buffer.allocUnsafeSlow(size), Buffer.allocUnsafeSlow(size)];
    const sent: Promise<void>[] = [];
    for (let at = start, turn = 0; at <= end; turn = 1 - turn) {
      await Promise.race([sent[turn], gone]);
      const piece = pieces[turn];
      if (piece === undefined) throw new Error("there are two pieces");
      const { bytesRead } = await file.read(piece, 0, Math.min(size, end + 1 - at), at);
      if (bytesRead === 0) throw new Error(`the file ends at ${at}, before ${end}`);
      at += bytesRead;
      sent[turn] = write(response, piece.subarray(0, bytesRead));
    }
    await Promise.race([Promise.all(sent), gone]);
    response.end();
  } finally {
    response.off("close", onClose);
  }
}

function write(response: ServerResponse, bytes: Buffer): Promise<void> {
  const written = new Promise<void>((resolve, reject) => {
    response.write(bytes, (error) => (error ? reject(wentAway(error)) : resolve()));
  });
  written.catch(() => undefined); // whoever waits for it is told
  return written;
}

const wentAway = (cause?: Error): Error =>
  Object.assign(new Error("the reader went away", { cause }), { code: "ERR_STREAM_PREMATURE_CLOSE" });
