import type { Client } from "@rain/client";
import { instanceOf, requireAccessFile, type Context } from "./context.ts";
import type { Instance } from "./instance.ts";

/** Connects to the server that the global options name, lets `use` work with it and closes the connection. */
export async function withClient<T>(
  context: Context,
  use: (client: Client, instance: Instance) => Promise<T>,
): Promise<T> {
  const instance = await instanceOf(context);
  const accessFile = requireAccessFile(context, instance);
  const { Client } = await import("@rain/client");
  // A command is over in a moment: it does not wait for a server that went away.
  const client = await Client.connect({ accessFile, reconnectS: 0 });
  try {
    return await use(client, instance);
  } finally {
    await client.close();
  }
}
