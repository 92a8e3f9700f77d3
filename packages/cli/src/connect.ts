import type { Client } from "@rain/client";
import type { Access } from "@rain/protocol/access";
import { instanceOf, requireAccessFile, type Context } from "./context.ts";
import type { Instance } from "./instance.ts";

export interface Connection {
  readonly client: Client;
  readonly instance: Instance;
  readonly access: Access;
}

/** Connects to the server that the global options name, lets `use` work with it and closes the connection. */
export async function withClient<T>(
  context: Context,
  use: (connection: Connection) => Promise<T>,
): Promise<T> {
  const instance = await instanceOf(context);
  const accessFile = requireAccessFile(context, instance);
  const { loadAccess } = await import("@rain/protocol/access");
  const access = await loadAccess(accessFile);
  const { Client } = await import("@rain/client");
  const client = await Client.connect({ accessFile });
  try {
    return await use({ client, instance, access });
  } finally {
    await client.close();
  }
}
