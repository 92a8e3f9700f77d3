import { main } from "../../packages/cli/src/main.ts";
import type { Io } from "../../packages/cli/src/output.ts";

/** An `Io` that keeps what is written. */
export function memoryIo(columns?: number): Io & { out: () => string; err: () => string } {
  const out: Uint8Array[] = [];
  const err: Uint8Array[] = [];
  return {
    stdout: (text) => void out.push(typeof text === "string" ? Buffer.from(text) : text),
    stderr: (text) => void err.push(typeof text === "string" ? Buffer.from(text) : text),
    drained: () => Promise.resolve(),
    columns,
    colour: false,
    out: () => Buffer.concat(out).toString("utf8"),
    err: () => Buffer.concat(err).toString("utf8"),
  };
}

/** One command line in this process. */
export async function runMain(
  argv: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<{ readonly code: number; readonly out: string; readonly err: string }> {
  const io = memoryIo();
  const code = await main(argv, io, env);
  return { code, out: io.out(), err: io.err() };
}
