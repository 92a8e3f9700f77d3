// A plain file server as one writes it in Node: sends the file that the path names, from the folder it is started in.
import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { pipeline } from "node:stream";

const [folder = ""] = process.argv.slice(2);
const server = createServer((request, response) => {
  const path = join(folder, new URL(request.url ?? "/", "http://x").pathname);
  response.writeHead(200, { "Content-Length": statSync(path).size });
  // A reader that has all its bytes may go before the last of them is known to be sent.
  pipeline(createReadStream(path), response, () => {});
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  process.send?.(address.port);
});
process.on("disconnect", () => process.exit());
