import { createRequire } from "node:module";
import { RainError } from "@rain/protocol";
import { decode } from "cbor2";

/** The value of CBOR bytes. */
export function decodeCbor(bytes: Uint8Array): unknown {
  try {
    return decode(bytes);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new RainError("bad-request", `the data is not CBOR: ${why}; take bytes()`, {}, { cause: error });
  }
}

/** The table of Arrow bytes (IPC stream or file). The package is large and few need it: it is an optional peer. */
export function decodeArrow(bytes: Uint8Array): unknown {
  const { tableFromIPC } = loadArrow();
  try {
    return tableFromIPC(bytes);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new RainError("bad-request", `the data is not Arrow: ${why}; take bytes()`, {}, { cause: error });
  }
}

const arrowName = "apache-arrow";

function loadArrow(): { tableFromIPC: (bytes: Uint8Array) => unknown } {
  try {
    return createRequire(import.meta.url)(arrowName) as ReturnType<typeof loadArrow>;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "MODULE_NOT_FOUND") throw error;
    throw new RainError(
      "bad-request",
      `load() of arrow data needs the package ${arrowName}: npm install ${arrowName}; bytes() works without it`,
    );
  }
}
