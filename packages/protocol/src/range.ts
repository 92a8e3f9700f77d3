/** A byte range of one part, inclusive; or why there is none. */
export type ByteRange =
  { readonly start: number; readonly end: number; readonly partial: boolean } | "unsatisfiable";

/** Reads a Range header as `bytes=N-` or `bytes=N-M`; other forms are ignored, as HTTP allows: the whole is sent. */
export function parseRange(header: string | undefined, size: number): ByteRange {
  const whole = { start: 0, end: size - 1, partial: false };
  const match = header === undefined ? null : /^bytes=(\d{1,15})-(\d{0,15})$/.exec(header);
  if (!match) return whole;
  const start = Number(match[1]);
  const end = match[2] === "" ? size - 1 : Math.min(Number(match[2]), size - 1);
  if (start >= size || end < start) return "unsatisfiable";
  return { start, end, partial: true };
}

export const rangeHeaders = (
  range: Exclude<ByteRange, string>,
  size: number,
): Record<string, string | number> => ({
  "Accept-Ranges": "bytes",
  "Content-Length": size === 0 ? 0 : range.end - range.start + 1,
  ...(range.partial ? { "Content-Range": `bytes ${range.start}-${range.end}/${size}` } : {}),
});

/** Bytes that the buffers of all files that are sent at once may take, about. */
const SEND_BYTES = 67_108_864;

/**
 * How many bytes of a file to read at once while `sending` files are sent, this one included: large pieces cost half the
 * time of small ones, but a reader that does not go on holds two of them.
 */
export const pieceBytes = (sending: number): number =>
  Math.max(65_536, Math.min(1_048_576, Math.floor(SEND_BYTES / 2 / Math.max(1, sending))));
