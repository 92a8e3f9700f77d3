// Loaded into a server before its own code: answers with its memory after a collection of garbage.
process.on("message", () => {
  // Twice: what the first collection releases may hold more.
  globalThis.gc?.();
  globalThis.gc?.();
  process.send?.(process.memoryUsage());
});
// The server must still be able to end by itself.
process.channel?.unref();
