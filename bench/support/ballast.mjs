// Loaded into a governor before its own code: fills its heap with small objects, as a long life with much to do would.
const bytes = Number(process.env.BENCH_HEAP);
const ballast = [];
while (process.memoryUsage().heapUsed < bytes) {
  ballast.push(Array.from({ length: 10_000 }, (_, index) => ({ index, text: null, next: undefined })));
}
Object.assign(globalThis, { ballast });
