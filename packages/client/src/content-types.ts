/** May an object declared as `actual` stand where `wanted` is asked? '' is every type, text is every text-ENC. */
export function isSubtype(actual: string, wanted: string): boolean {
  if (wanted === "" || actual === wanted) return true;
  return wanted === "text" && actual.startsWith("text-");
}

export const isText = (type: string): boolean => type === "text" || type.startsWith("text-");

/** The encoding of a text type; UTF-8 unless it names one. */
export const encodingOf = (type: string): string =>
  type.startsWith("text-") ? type.slice("text-".length) : "utf-8";
