import type { Client } from "@rain/client";
import { instanceOf, requireAccessFile, type Context } from "./context.ts";
import type { Instance } from "./instance.ts";

/**
 * Connects to the server that the global options name, lets `use` work with it and closes the connection. Most commands
 * are over in a moment and do not wait for a server that went away; one that goes on says for how long it does.
 */
export async function withClient<T>(
  context: Context,
  use: (client: Client, instance: Instance) => Promise<T>,
  reconnectS = 0,
): Promise<T> {
  const instance = await instanceOf(context);
  const accessFile = requireAccessFile(context, instance);
  const { Client } = await import("@rain/client");
  const client = await Client.connect({ accessFile, reconnectS });
  try {
    return await use(client, instance);
  } finally {
    await client.close();
  }
}

/** For commands that follow what goes on: a server that is started anew is waited for. */
export const FOLLOW_RECONNECT_S = 120;
