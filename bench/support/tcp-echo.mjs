// Sends back what it is sent; says its port to its parent.
import { createServer } from "node:net";

const server = createServer({ noDelay: true }, (socket) => socket.pipe(socket));
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  process.send?.(address.port);
});
process.on("disconnect", () => process.exit());
