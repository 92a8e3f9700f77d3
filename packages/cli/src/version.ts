import { readFileSync } from "node:fs";

/** Version of this package; all of Rain's packages have the same. */
export function version(): string {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
