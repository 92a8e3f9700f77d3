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
  if (!isIpc(bytes)) throw new RainError("bad-request", "the data is not Arrow; take bytes()");
  try {
    return tableFromIPC(bytes);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new RainError("bad-request", `the data is not Arrow: ${why}; take bytes()`, {}, { cause: error });
  }
}

/** A stream begins with a message (0xffffffff, its length), a file with its name; apache-arrow takes anything. */
const isIpc = (bytes: Uint8Array): boolean =>
  Buffer.from(bytes.subarray(0, 6)).toString("latin1") === "ARROW1" ||
  (bytes.length >= 8 && bytes.subarray(0, 4).every((byte) => byte === 0xff));

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
